// One chart of the curve explorer: Vega draws it, and a layer above it reads the values at a place, by mouse, finger or key,
// and zooms.
(() => {
  "use strict";
  const SVG = "http://www.w3.org/2000/svg";
  const STEP = { ArrowLeft: -1, ArrowRight: 1, PageUp: 10, PageDown: -10 };
  const draw = (tag, attributes) => {
    const element = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    return element;
  };

  // Of a line the point at a place: the nearest, unless the line ends before.
  function pointAt({ points }, x) {
    let best = null;
    for (const point of points) if (!best || Math.abs(point.x - x) < Math.abs(best.x - x)) best = point;
    if (!best) return null;
    const [first, last] = [points[0].x, points.at(-1).x];
    const gap = points.length > 1 ? (last - first) / (points.length - 1) : 0;
    return x < first - gap || x > last + gap ? null : best;
  }

  function setLog(scale) {
    scale.type = "log";
    delete scale.zero;
  }

  // Draw a panel's lines into `picture`. `look` says how: the specification, titles and formats of the axes, which of them
  // are logarithmic, the bounds, the level of the baseline. `on` is told what the reader does: read, leave, zoom, key.
  async function drawChart(picture, panel, look, on) {
    const spec = structuredClone(look.spec);
    const canvas = document.createElement("div"); // Vega gives it a role and a name, which nobody has to hear
    canvas.setAttribute("aria-hidden", "true");
    picture.replaceChildren(canvas);
    spec.width = picture.clientWidth;
    spec.height = look.height;
    const rows = panel.lines.flatMap((line) => line.points.map((point) => ({ ...point, ...line.look, line: line.key })));
    // The baseline's line comes last: drawn first, it lies below the lines that are to be compared with it.
    spec.datasets = { ...spec.datasets, curves: rows.reverse(), level: look.level === null ? [] : [{ level: look.level }] };
    for (const parameter of spec.params) parameter.value = look.bounds[parameter.name];
    // A layer without data would only make Vega warn.
    const has = (field) => rows.some((row) => row[field] !== undefined && row[field] !== null);
    const wants = { level: look.level !== null, band: rows.some(({ bar, low, high }) => !bar && low < high), bars: has("bar"), raw: has("raw"), points: has("shape") };
    const isDrawn = ({ name }) => wants[name] ?? true;
    spec.layer = spec.layer.filter(isDrawn);
    for (const { encoding } of spec.layer) {
      if (encoding.x) {
        Object.assign(encoding.x, { title: look.xTitle });
        Object.assign(encoding.x.axis, { format: look.xFormat, ...(look.whole && { tickMinStep: 1 }) });
        if (look.logX) setLog(encoding.x.scale);
      }
      encoding.y.axis.format = look.yFormat;
      if (look.logY) setLog(encoding.y.scale);
    }
    const view = await window.vegaEmbed(canvas, spec, {
      mode: "vega-lite",
      renderer: "svg",
      ast: true, // the page's policy lets no text become code
      actions: false,
      defaultStyle: false,
      tooltip: false,
    }).then((made) => made.view);
    return readingOf(picture, panel, view, look, on);
  }

  function readingOf(picture, panel, view, look, on) {
    const [scaleX, scaleY] = [view.scale("x"), view.scale("y")];
    const padding = view.padding();
    const [left, top] = [view.origin()[0] + padding.left, view.origin()[1] + padding.top];
    const [width, height] = [view.width(), view.height()];
    const { clientWidth, clientHeight } = picture.querySelector("svg");
    const over = draw("svg", { class: "explorer-reading", "aria-hidden": "true", width: clientWidth, height: clientHeight });
    picture.append(over);
    const xs = [...new Set(panel.lines.flatMap((line) => line.points.map((point) => point.x)))].sort((a, b) => a - b);
    const inSight = xs.filter((x) => x >= look.bounds.first && x <= look.bounds.last);
    const nearest = (x) => inSight.reduce((best, other) => (Math.abs(other - x) < Math.abs(best - x) ? other : best), inSight[0]);
    const placeOf = (event) => {
      const { left: edge, top: ceiling } = picture.getBoundingClientRect();
      return [event.clientX - edge - left, event.clientY - ceiling - top];
    };
    const clamp = (px) => Math.max(0, Math.min(width, px));
    const valueAt = (px) => scaleX.invert(clamp(px));

    // Show the values at a place: a line across, a dot on each curve, and the curve nearest to the pointer thicker.
    function mark(x, y) {
      over.replaceChildren();
      if (x === null || !inSight.length) return [];
      const found = panel.lines.map((line) => ({ line, point: pointAt(line, x) })).filter(({ point }) => point);
      const at = left + scaleX(x);
      over.append(draw("path", { d: `M${at},${top}V${top + height}`, class: "explorer-cross" }));
      let close = null;
      for (const one of found) {
        one.gap = y === undefined ? Infinity : Math.abs(scaleY(one.point.value) - y);
        if (one.gap < Math.min(30, close?.gap ?? Infinity)) close = one;
      }
      if (close) {
        close.near = true;
        const path = close.line.points.map((point) => `${left + clamp(scaleX(point.x))},${top + scaleY(point.value)}`);
        over.append(draw("path", { d: `M${path.join("L")}`, stroke: close.line.look.color, class: "explorer-near" }));
      }
      for (const { line, point } of found) {
        const spot = { cx: left + scaleX(point.x), cy: top + scaleY(point.value), r: 4.5, fill: line.look.color };
        over.append(draw("circle", { ...spot, class: "explorer-dot" }));
      }
      return found;
    }

    let start = null; // where the mouse went down, to draw out what to zoom into
    const listeners = {
      pointermove(event) {
        const [px, py] = placeOf(event);
        on.read(nearest(valueAt(px)), py, event);
        if (start === null) return;
        const [from, to] = [start, clamp(px)].sort((a, b) => a - b);
        over.append(draw("rect", { x: left + from, y: top, width: to - from, height, class: "explorer-zoom" }));
      },
      pointerdown(event) {
        const [px, py] = placeOf(event);
        on.read(nearest(valueAt(px)), py, event);
        if (event.pointerType !== "mouse" || event.button !== 0) return;
        start = clamp(px);
        picture.setPointerCapture(event.pointerId);
      },
      pointerup(event) {
        const end = clamp(placeOf(event)[0]);
        if (start !== null && Math.abs(end - start) > 8) on.zoom([valueAt(Math.min(start, end)), valueAt(Math.max(start, end))]);
        start = null;
      },
      pointerleave(event) {
        if (event.pointerType === "mouse" && start === null) on.leave();
      },
      dblclick: () => on.zoom(null),
      focus: () => on.read(on.place() ?? inSight[0]),
      blur: () => on.leave(),
      keydown(event) {
        const at = inSight.indexOf(nearest(on.place() ?? inSight[0]));
        const to = { Home: 0, End: inSight.length - 1 }[event.key] ?? (event.key in STEP ? at + STEP[event.key] : null);
        if (to !== null) on.read(inSight[Math.max(0, Math.min(inSight.length - 1, to))]);
        else if (!on.key(event.key)) return;
        event.preventDefault();
      },
    };
    for (const [name, listener] of Object.entries(listeners)) picture.addEventListener(name, listener);
    const finalize = () => {
      for (const [name, listener] of Object.entries(listeners)) picture.removeEventListener(name, listener);
      view.finalize();
    };
    return { mark, finalize, xs: inSight };
  }

  window.explorerChart = drawChart;
})();
