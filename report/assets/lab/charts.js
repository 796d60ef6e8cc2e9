// The lab's pictures, in SVG: losses and accuracy over the epochs, and the sentences as dots along the probability of the
// right answer. Colours are those of the style sheet, so both themes have their own.
(() => {
  "use strict";
  const SVG = "http://www.w3.org/2000/svg";
  const [LEFT, RIGHT, TOP, BOTTOM] = [46, 12, 10, 34]; // pixels around a chart's lines
  const MAX_DOTS = 256; // of one strip

  /** @param {string} tag @param {Record<string, string | number>} attributes @param {(Node | string)[]} children */
  function draw(tag, attributes = {}, ...children) {
    const element = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
    element.append(...children);
    return element;
  }

  /** @param {string} tag @param {Record<string, unknown>} properties @param {(Node | string)[]} children */
  function make(tag, properties = {}, ...children) {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  }

  /** @param {number} low @param {number} high @param {number} most */
  function ticks(low, high, most) {
    const rough = (high - low) / most || 1;
    const power = 10 ** Math.floor(Math.log10(rough));
    const size = [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= rough) ?? rough;
    const places = Math.max(0, -Math.floor(Math.log10(size)));
    const found = [];
    for (let i = Math.ceil(low / size - 1e-9); i * size <= high + 1e-9; i += 1) found.push(i * size);
    return found.map((value) => /** @type {[number, string]} */ ([value, value.toFixed(places)]));
  }

  /**
   * A chart of runs over the epochs.
   * @param {string} title
   * @param {{x: string, level: number, percent?: boolean, legend: [string, string][]}} look `legend`: class and text of each kind of line
   * @param {(run: LabRun) => {kind: string, points: [number, number][], dots?: boolean}[]} linesOf
   * @returns {LabChart}
   */
  function curves(title, look, linesOf) {
    const svg = draw("svg", { class: "lab-chart", "aria-hidden": "true" });
    const heading = make("p", { className: "lab-title" }, make("span", { textContent: title }));
    for (const [kind, text] of look.legend) {
      const sample = draw("svg", { viewBox: "0 0 28 12", class: "lab-swatch", "aria-hidden": "true" }, draw("path", { d: "M1,6H27", class: `lab-line lab-${kind}` }));
      heading.append(make("span", { className: "lab-key" }, sample, text));
    }
    const element = make("div", { className: "lab-panel" }, heading, svg);
    /** @type {LabChart["draw"]} */
    function redraw(runs, at) {
      const [width, height] = [svg.clientWidth || 320, svg.clientHeight || 220];
      svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
      const drawn = runs.map(linesOf);
      const last = Math.max(1, ...runs.map((run) => run.choice.epochs));
      // Never so near that the noise of a flat curve fills the chart.
      const values = [look.level * 0.85, look.level * 1.1, ...drawn.flat().flatMap(({ points }) => points.map((point) => point[1]))];
      const [least, most] = [Math.min(...values), Math.max(...values)];
      const room = Math.max(0.02, (most - least) * 0.08);
      const [low, high] = [Math.max(0, least - room), look.percent ? Math.min(1, most + room) : most + room];
      const x = (/** @type {number} */ epoch) => LEFT + (epoch / last) * (width - LEFT - RIGHT);
      const y = (/** @type {number} */ value) => TOP + ((high - value) / (high - low)) * (height - TOP - BOTTOM);
      const floor = height - BOTTOM;
      const parts = [];
      for (const [value, text] of ticks(look.percent ? low * 100 : low, look.percent ? high * 100 : high, 5)) {
        const place = y(look.percent ? value / 100 : value);
        parts.push(draw("path", { d: `M${LEFT},${place}H${width - RIGHT}`, class: "lab-grid" }));
        parts.push(draw("text", { x: LEFT - 6, y: place + 4, "text-anchor": "end" }, look.percent ? `${text}%` : text));
      }
      for (const [value, text] of ticks(0, last, Math.min(last, 6))) {
        if (Number.isInteger(value)) parts.push(draw("text", { x: x(value), y: floor + 16, "text-anchor": "middle" }, text));
      }
      parts.push(draw("text", { x: (LEFT + width - RIGHT) / 2, y: height - 3, "text-anchor": "middle" }, look.x));
      parts.push(draw("path", { d: `M${LEFT},${floor}H${width - RIGHT}`, class: "lab-axis" }));
      parts.push(draw("path", { d: `M${LEFT},${y(look.level)}H${width - RIGHT}`, class: "lab-level" }));
      [...drawn].reverse().forEach((lines, back) => {
        const own = back === drawn.length - 1 ? "lab-now" : "lab-before";
        const group = draw("g", { class: own });
        for (const { kind, points, dots } of lines) {
          if (!points.length) continue;
          const path = points.map(([epoch, value]) => `${x(epoch).toFixed(1)},${y(value).toFixed(1)}`).join("L");
          group.append(draw("path", { d: `M${path}`, class: `lab-line lab-${kind}` }));
          if (dots && points.length < 60) for (const [epoch, value] of points) group.append(draw("circle", { cx: x(epoch), cy: y(value), r: 2.5, class: "lab-dot" }));
        }
        parts.push(group);
      });
      const kept = runs[0]?.outcome;
      const best = kept && drawn[0].find(({ kind }) => kind === "validation")?.points.find(([epoch]) => Math.abs(epoch * kept.per_epoch - kept.kept_step) < 0.5);
      if (best) parts.push(draw("circle", { cx: x(best[0]), cy: y(best[1]), r: 6.5, class: "lab-kept" }));
      if (at !== null) parts.push(draw("path", { d: `M${x(at)},${TOP}V${floor}`, class: "lab-at" }));
      svg.replaceChildren(...parts);
    }
    return { element, draw: redraw };
  }

  /**
   * A strip of dots, a sentence each, along the probability that its right label gets. Each dot keeps its height.
   * @param {string} title
   * @param {{low: string, high: string, level: number}} look
   */
  function strip(title, look) {
    const svg = draw("svg", { class: "lab-strip", "aria-hidden": "true" });
    const said = make("span", { className: "lab-share" });
    const ends = make("p", { className: "lab-ends" }, make("span", { textContent: look.low }), make("span", { textContent: look.high }));
    const element = make("div", { className: "lab-panel" }, make("p", { className: "lab-title" }, make("span", { textContent: title }), said), svg, ends);
    /** @type {SVGElement[]} */
    let dots = [];
    /** @param {Float32Array | null} probabilities @param {string} text */
    function redraw(probabilities, text) {
      const [width, height] = [svg.clientWidth || 320, svg.clientHeight || 96];
      said.textContent = text;
      const n = Math.min(MAX_DOTS, probabilities?.length ?? 0);
      if (dots.length !== n || svg.getAttribute("width") !== String(width)) {
        svg.setAttribute("width", String(width));
        svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
        dots = Array.from({ length: n }, () => draw("circle", { r: 4 }));
        const level = 8 + look.level * (width - 16);
        const ground = draw("rect", { x: 0, y: 0, width: level, height, class: "lab-wrong-side" });
        svg.replaceChildren(ground, draw("path", { d: `M${level},0V${height}`, class: "lab-level" }), ...dots);
      }
      dots.forEach((dot, i) => {
        const probability = probabilities ? probabilities[i] : look.level;
        const height_share = (i * 0.6180339887) % 1; // spread evenly, whatever the number of dots
        dot.style.transform = `translate(${(8 + probability * (width - 16)).toFixed(1)}px, ${(8 + height_share * (height - 16)).toFixed(1)}px)`;
        dot.setAttribute("class", probability < look.level ? "lab-sentence lab-wrong" : "lab-sentence");
      });
    }
    return { element, draw: redraw };
  }

  globalThis.labCharts = { curves, strip, make };
})();
