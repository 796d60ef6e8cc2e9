// The curve explorer: what is chosen, in controls and in the address; charts, tables and download follow from it. It reads
// the data that its page holds and formats no number. Without it the page has a figure and a table that stand still.
(() => {
  "use strict";
  const one = (selector, within = document) => within.querySelector(selector);
  const box = one(".explorer");
  if (!box) return;
  const { make, foldedTable, fillTable, fillRuns, download } = window.explorerTables;
  const data = JSON.parse(one("script", box).textContent);
  const { words, columns } = data;
  const of = window.explorerPanels(data);
  const { adapters, variants, fill } = of;
  const SVG = "http://www.w3.org/2000/svg";
  const FORMATS = { loss: ".4~r", percent: "~%", rate: "~e", duration: ".4~r" };

  // What is chosen lives in the address, so that a view can be sent to somebody; what is usual is left out.
  const settings = [
    ...(data.adapters.some((adapter) => data.best[adapter.id]) ? ["best"] : []),
    ...(data.factors.rates.length > 1 ? ["rates"] : []),
    ...(data.factors.batch_sizes.length > 1 ? ["batch_sizes"] : []),
    ...(variants.size > data.factors.rates.length && variants.size > 1 ? ["variants"] : []),
  ];
  const metricsOf = (axis) => (of.ofRuns(axis) ? data.results : [...of.views.keys()]);
  const usual = () => ({
    adapters: [...adapters.keys()], setting: settings[0] ?? [...variants.keys()][0], runs: [], axis: "epoch",
    metric: metricsOf("epoch")[0], seeds: "mean", smoothing: 0, log: "", zoom: null,
  }); // prettier-ignore
  const isSetting = (name) => settings.includes(name) || variants.has(name) || name === "own";
  const isSeeds = (name) => ["mean", "each"].includes(name) || data.seeds.map(String).includes(name);
  const runIds = data.runs.rows.map((row) => of.keyOf(row.adapter, row.variant));

  function readAddress() {
    const given = new URLSearchParams(location.hash.slice(1));
    const state = usual();
    const ids = given.getAll("adapter"); // one that is empty stands for none
    const known = state.adapters.filter((id) => ids.includes(id));
    if (known.length || ids.includes("")) state.adapters = known;
    if (isSetting(given.get("setting"))) state.setting = given.get("setting");
    state.runs = runIds.filter((id) => given.getAll("run").includes(id));
    if (data.axes.includes(given.get("x"))) state.axis = given.get("x");
    state.metric = [given.get("metric"), state.metric].find((name) => metricsOf(state.axis).includes(name)) ?? metricsOf(state.axis)[0];
    if (of.hasSeeds && isSeeds(given.get("seeds"))) state.seeds = given.get("seeds");
    if (["x", "y", "xy"].includes(given.get("log"))) state.log = given.get("log");
    const smoothing = Number(given.get("smoothing"));
    if (smoothing > 0 && smoothing < 100) state.smoothing = smoothing;
    const zoom = (given.get("zoom") ?? "").split("~").map(Number.parseFloat);
    if (zoom.length === 2 && zoom[0] < zoom[1]) state.zoom = zoom;
    return state;
  }

  function writeAddress() {
    const kept = new URLSearchParams();
    const { adapters: all, setting, axis, metric, seeds, smoothing, log } = usual();
    if (state.adapters.length < all.length) {
      for (const id of state.adapters.length ? state.adapters : [""]) kept.append("adapter", id);
    }
    const plain = { setting, metric, seeds, smoothing, log };
    if (state.axis !== axis) kept.append("x", state.axis);
    for (const [name, value] of Object.entries(plain)) if (state[name] !== value) kept.append(name, state[name]);
    if (state.setting === "own") for (const id of state.runs) kept.append("run", id);
    if (state.zoom) kept.append("zoom", state.zoom.map((value) => Number(value.toPrecision(4))).join("~"));
    history.replaceState(history.state, "", kept.size ? `#${kept}` : location.pathname + location.search);
  }

  // The axes. All panels have the same ones, or they could not be compared; the baseline is in sight until one zooms.
  const isLog = (axis) => state.log.includes(axis) || (axis === "x" && state.axis === "learning_rate");

  function boundsOf(panels) {
    const points = panels.flatMap((panel) => panel.lines.flatMap((line) => line.points));
    const [first, last] = state.zoom ?? [Math.min(...points.map(({ x }) => x)), Math.max(...points.map(({ x }) => x))];
    const near = points.filter(({ x }) => x >= first && x <= last);
    const values = (near.length ? near : points).flatMap(({ low, high, raw }) => [low, high, raw ?? low]);
    if (!state.zoom) values.push(...panels.map((panel) => levelOf(panel)).filter((level) => level !== null));
    const shown = isLog("y") ? values.filter((value) => value > 0) : values;
    const [low, high] = [Math.min(...shown), Math.max(...shown)];
    const room = 0.05 * (high - low || Math.abs(high) || 1);
    const ratio = (high / low) ** 0.05 || 1.05;
    const [lower, upper] = isLog("y") ? [low / ratio, high * ratio] : [low - room, high + room];
    // Room for the markers at both ends; a single place stands in the middle.
    if (isLog("x")) return { first: first / 1.1, last: last * 1.1, low: lower, high: upper };
    const side = first === last ? Math.abs(first) / 2 || 0.5 : state.zoom ? 0 : (last - first) * (state.axis === "rank" ? 0.15 : 0.015);
    return { first: first - side, last: last + side, low: lower, high: upper };
  }

  const levelOf = ({ quantity }) => data.levels[quantity] ?? null;

  // Charts: made anew at each choice, which takes some hundredths of a second. A later choice overtakes an earlier one.
  let turn = 0;
  let open = [];
  let reading = null; // the place along the axis that is read

  async function drawCharts({ panels, width }) {
    const mine = ++turn;
    for (const { chart } of open.splice(0)) chart.finalize();
    hideTip();
    const positive = ({ x, value }) => (!isLog("x") || x > 0) && (!isLog("y") || value > 0);
    const drawn = panels
      .map((panel) => {
        const kept = panel.lines.map((line) => ({ ...line, points: line.points.filter(positive) }));
        return { ...panel, lines: kept.filter((line) => line.points.length) };
      })
      .filter((panel) => panel.lines.length);
    charts.className = `explorer-charts explorer-charts-${Math.min(width, drawn.length)}`;
    charts.replaceChildren(...drawn.map(makePanel));
    const bounds = drawn.length ? boundsOf(drawn) : null;
    for (const panel of drawn) {
      const look = {
        spec: data.spec, bounds, level: levelOf(panel), logX: isLog("x"), logY: isLog("y"), xTitle: words[`axis_${state.axis}`],
        xFormat: state.axis === "learning_rate" ? "~e" : ".4~r", yFormat: FORMATS[data.formats[panel.quantity]],
        whole: ["epoch", "step"].includes(state.axis), height: innerWidth < 640 || innerHeight < 700 ? 240 : 300,
      }; // prettier-ignore
      const on = {
        read: (x, y, event) => read(panel, x, y, event),
        leave: hideTip,
        zoom: (range) => change({ zoom: range }),
        place: () => reading,
        key: (key) => ({ "+": () => zoomBy(0.5), "-": () => zoomBy(2), 0: () => change({ zoom: null }) })[key]?.() ?? false,
      };
      const chart = await window.explorerChart(panel.picture, panel, look, on);
      if (mine !== turn) return chart.finalize();
      open.push({ panel, chart });
      panel.picture.setAttribute("aria-valuemin", bounds.first);
      panel.picture.setAttribute("aria-valuemax", bounds.last);
      panel.picture.setAttribute("aria-valuenow", chart.xs[0] ?? bounds.first);
    }
  }

  // A slider to a screen reader: along the axis, with the values at each place as its text.
  function makePanel(panel) {
    panel.picture = make("div", { className: "explorer-chart", tabIndex: 0 });
    const names = [...new Set(panel.lines.map((line) => line.label))].join(words.comma);
    const attributes = { role: "slider", "aria-label": fill(words.chart, { title: `${panel.title} · ${panel.setting}`, names }), "aria-valuetext": names };
    for (const [name, value] of Object.entries(attributes)) panel.picture.setAttribute(name, value);
    const heading = make("p", { className: "explorer-title" });
    heading.append(make("span", { textContent: panel.title }), " ", make("span", { textContent: panel.setting }));
    const legend = panel.mixed ? [make("p", { className: "explorer-legend" }, ...legendOf(panel))] : [];
    return make("div", { className: "explorer-panel" }, heading, ...legend, panel.picture);
  }

  function legendOf(panel) {
    const seen = new Set();
    return panel.lines
      .filter(({ adapter, variant }) => !seen.has(`${adapter}/${variant}`) && seen.add(`${adapter}/${variant}`))
      .map(({ look, label }) => make("span", {}, swatch(look), label));
  }

  function zoomBy(factor) {
    if (!open.length) return true;
    const all = open.flatMap(({ panel }) => panel.lines.flatMap((line) => line.points.map(({ x }) => x)));
    const [least, most] = [Math.min(...all), Math.max(...all)];
    const [first, last] = state.zoom ?? [least, most];
    const middle = reading ?? (first + last) / 2;
    const half = ((last - first) * factor) / 2;
    const range = [Math.max(least, middle - half), Math.min(most, middle + half)];
    const whole = range[0] <= least && range[1] >= most;
    change({ zoom: whole || range[0] >= range[1] ? (factor > 1 ? null : state.zoom) : range });
    return true;
  }

  // The values of all curves at a place, as texts: the highest first, the nearest to the pointer in bold.
  const tip = make("div", { className: "explorer-tip", hidden: true });

  function read(panel, x, y, event) {
    reading = x;
    let found = [];
    for (const { panel: other, chart } of open) {
      const marked = chart.mark(x, other === panel ? y : undefined);
      if (other === panel) found = marked;
    }
    if (!found.length) return hideTip();
    found.sort((a, b) => b.point.value - a.point.value);
    const at = found.find(({ point }) => point.x === x)?.point.at ?? "";
    const place = of.isStep(panel.quantity) && state.axis === "epoch" ? fill(words.at_step, { at }) : `${words[`axis_${state.axis}`]} ${at}`;
    const rows = found.map(({ line, point, near }) => {
      const elsewhere = point.x === x ? "" : ` (${point.at})`;
      const cells = [make("td", {}, swatch({ ...line.look, shape: null })), make("th", { scope: "row", textContent: line.label }), make("td", { textContent: point.shown + elsewhere })];
      return make("tr", { className: near ? "near" : "" }, ...cells);
    });
    tip.replaceChildren(make("p", { textContent: place }), make("table", {}, make("tbody", {}, ...rows)));
    panel.picture.setAttribute("aria-valuenow", x);
    panel.picture.setAttribute("aria-valuetext", `${place}${words.colon}${found.map(({ line, point }) => `${line.label} ${point.shown}`).join(words.comma)}`);
    tip.hidden = false;
    const chart = panel.picture.getBoundingClientRect();
    const finger = !event || event.pointerType === "touch"; // beside a mouse; away from a finger, which would cover it
    const pointer = finger ? chart.left + chart.width / 2 : event.clientX;
    const left = finger ? chart.right - tip.offsetWidth : pointer + 16 + tip.offsetWidth > innerWidth ? pointer - 16 - tip.offsetWidth : pointer + 16;
    const top = finger ? chart.top - tip.offsetHeight - 4 : event.clientY + 16;
    tip.style.left = `${Math.max(4, left)}px`;
    tip.style.top = `${Math.max(4, Math.min(top, innerHeight - tip.offsetHeight - 4))}px`;
  }

  function hideTip() {
    reading = null;
    tip.hidden = true;
    for (const { chart } of open) chart.mark(null);
  }

  // Why nothing is drawn, or who is missing.
  function explain(chosen) {
    const nameOf = (ids) => ids.map((id) => adapters.get(id).name).join(words.comma);
    if (!state.adapters.length) return words.nothing;
    if (state.setting === "own" && !state.runs.length) return words.no_runs;
    const drawn = new Set(chosen.panels.flatMap((panel) => panel.lines.map((line) => line.adapter)));
    const missing = state.adapters.filter((id) => !drawn.has(id));
    if (state.axis === "rank") return missing.length ? fill(words.no_rank, { names: nameOf(missing) }) : "";
    const sources = new Set(chosen.sources.map((line) => line.adapter));
    const silent = missing.filter((id) => sources.has(id));
    const absent = missing.filter((id) => !sources.has(id));
    const reason = ["step", "seconds"].includes(state.axis) || of.isStep(chosen.quantities[0]) ? words.no_steps : words.not_evaluated;
    return [silent.length && fill(reason, { names: nameOf(silent) }), state.setting !== "own" && absent.length && fill(words.missing, { names: nameOf(absent) })].filter(Boolean).join(" ");
  }

  // Controls
  function swatch({ color, dash, shape }) {
    const draw = (tag, attributes, ...children) => {
      const element = document.createElementNS(SVG, tag);
      for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
      element.append(...children);
      return element;
    };
    const parts = [draw("path", { d: "M1,8H27", stroke: color, "stroke-width": 2, "stroke-dasharray": dash.join(" ") })];
    if (shape) parts.push(draw("path", { d: shape, fill: color, transform: "translate(14 8) scale(4)" }));
    return draw("svg", { viewBox: "0 0 28 16", class: "explorer-swatch", "aria-hidden": "true" }, ...parts);
  }

  function choice(name, label, changes = (value) => ({ [name]: value })) {
    const select = make("select", { name });
    select.addEventListener("change", () => change(changes(select.value)));
    return make("label", {}, make("span", { textContent: label }), select);
  }

  const offer = (name, options) => {
    const select = one(`select[name=${name}]`, form);
    if (!select) return;
    const texts = options.map(([value, textContent]) => make("option", { value, textContent }));
    if (texts.map((option) => option.value).join() !== [...select.options].map((option) => option.value).join()) select.replaceChildren(...texts);
    select.value = state[name];
  };

  function checkBoxes() {
    const set = make("fieldset", {}, make("legend", { textContent: words.adapters }));
    for (const adapter of data.adapters) {
      const input = make("input", { type: "checkbox", name: "adapter", value: adapter.id });
      input.addEventListener("change", () => {
        const boxes = [...set.querySelectorAll("input")];
        change({ adapters: boxes.filter((other) => other.checked).map((other) => other.value) });
      });
      set.append(make("label", {}, input, swatch(adapter), make("span", { textContent: adapter.name })));
    }
    set.append(button(words.all, () => change({ adapters: [...adapters.keys()] })), button(words.none, () => change({ adapters: [] })));
    return set;
  }

  function button(text, act, label) {
    const made = make("button", { type: "button", textContent: text });
    if (label) made.setAttribute("aria-label", label);
    if (label) made.title = label;
    made.addEventListener("click", act);
    return made;
  }

  function logBox(axis) {
    const input = make("input", { type: "checkbox", name: `log-${axis}` });
    input.addEventListener("change", () => change({ log: ["x", "y"].filter((other) => (other === axis ? input.checked : state.log.includes(other))).join("") }));
    return make("label", {}, input, words[`log_${axis}`]);
  }

  function showState() {
    for (const input of form.querySelectorAll("input[name=adapter]")) input.checked = state.adapters.includes(input.value);
    const single = [...variants.values()].map((variant) => [variant.id, variant.title]);
    offer("setting", [...settings.map((name) => [name, words[name]]), ...single, ...(state.setting === "own" ? [["own", words.own]] : [])]);
    offer("axis", data.axes.map((name) => [name, words[`axis_${name}`]]));
    offer("metric", metricsOf(state.axis).map((name) => [name, of.titleOf(name)]));
    offer("seeds", [["mean", words.mean], ...(data.seeds.length ? [["each", words.each]] : []), ...data.seeds.map((seed) => [String(seed), String(seed)])]);
    for (const axis of ["x", "y"]) one(`input[name=log-${axis}]`, tools).checked = isLog(axis);
    one("input[name=log-x]", tools).disabled = state.axis === "learning_rate";
    one("input[name=smoothing]", tools).value = state.smoothing;
    one(".explorer-smoothing", tools).hidden = state.metric !== "step_loss" || of.ofRuns(state.axis);
    one(".explorer-whole", tools).disabled = !state.zoom;
  }

  let chosen = null;
  let sorted = { column: null, down: false };

  function show() {
    chosen = of.choose(state);
    showState();
    const rows = of.dataRows(chosen, state);
    save.disabled = !rows.length;
    const n_lines = new Set(chosen.panels.flatMap((panel) => panel.lines.map((line) => line.key))).size;
    const numbers = of.isStep(chosen.quantities[0]) || of.ofRuns(state.axis) ? rows.length
      : rows.flatMap(({ point }) => chosen.quantities.filter((name) => point[of.place[name]])).length; // prettier-ignore
    status.textContent = [n_lines ? fill(words.status, { lines: n_lines, numbers }) : words.empty, explain(chosen)].filter(Boolean).join(" ");
    dataFold.update();
    runsFold.update();
    chance.hidden = !chosen.quantities.some((quantity) => quantity in data.levels);
    drawCharts(chosen).then(
      () => showFigure(false),
      () => {
        charts.replaceChildren(make("p", { textContent: words.failed }));
        showFigure(true);
      },
    );
  }

  // The page's figure shows the same curves; it is for readers for whom nothing is drawn here.
  const showFigure = (shown) => one(".static-curves")?.toggleAttribute("hidden", !shown);

  function change(changes) {
    const moved = ["axis", "setting"].some((name) => name in changes && changes[name] !== state[name]);
    Object.assign(state, moved ? { zoom: null } : {}, changes);
    if (!metricsOf(state.axis).includes(state.metric)) state.metric = metricsOf(state.axis)[0];
    writeAddress();
    show();
  }

  // A tick in the table of runs makes the choice the reader's own, beginning with what is shown.
  const shownRuns = () => new Set(chosen.panels.flatMap((panel) => panel.lines.flatMap((line) => (line.points[0].row?.adapter ? line.points.map(({ row }) => of.keyOf(row.adapter, row.variant)) : [of.keyOf(line.adapter, line.variant)]))));
  function toggle(row, on) {
    const id = of.keyOf(row.adapter, row.variant);
    const shown = shownRuns();
    const runs = runIds.filter((other) => (other === id ? on : shown.has(other)));
    const wanted = on && !state.adapters.includes(row.adapter) ? [...adapters.keys()].filter((other) => other === row.adapter || state.adapters.includes(other)) : state.adapters;
    change({ setting: "own", runs, adapters: wanted });
  }

  let state = readAddress();
  const form = make(
    "form", { className: "explorer-controls" }, checkBoxes(),
    make("div", { className: "explorer-choices" }, choice("setting", words.setting), choice("metric", words.metric), choice("axis", words.axis), ...(of.hasSeeds ? [choice("seeds", words.seeds)] : [])),
  ); // prettier-ignore
  form.addEventListener("submit", (event) => event.preventDefault());
  const slider = make("input", { type: "range", name: "smoothing", min: 0, max: 98, step: 2 });
  slider.addEventListener("change", () => change({ smoothing: Number(slider.value) }));
  const whole = button(words.whole, () => change({ zoom: null }));
  whole.className = "explorer-whole";
  const tools = make(
    "div", { className: "explorer-tools" }, make("label", { className: "explorer-smoothing" }, words.smoothing, slider), logBox("x"), logBox("y"),
    button("+", () => zoomBy(0.5), words.zoom_in), button("−", () => zoomBy(2), words.zoom_out), whole,
  ); // prettier-ignore
  const status = make("p", { className: "explorer-status" });
  status.setAttribute("role", "status");
  const charts = make("div", { className: "explorer-charts" });
  const chance = make("p", { className: "explorer-chance" }, swatch({ color: "#6b6b6b", dash: [1, 3] }), data.chance);
  const runsFold = foldedTable(words.runs, "explorer-runs", (table) =>
    fillRuns(table, {
      runs: data.runs, results: [...data.results.slice(0, -1), "last_train_loss", "train_time_s"], words: { ...words, ...columns }, adapters, variants,
      isShown: (row) => shownRuns().has(of.keyOf(row.adapter, row.variant)), toggle, sorted,
      sort: (column) => {
        sorted = { column, down: sorted.column === column ? !sorted.down : column >= 2 + data.runs.settings.length };
        runsFold.update();
      },
    }),
  ); // prettier-ignore
  const dataFold = foldedTable(words.table, "explorer-data", (table) => fillTable(table, ...of.dataTable(chosen, state)));
  const save = button(words.download, () => download(`${words.file}-${state.metric}.csv`, of.csvRows(chosen, state)));
  save.className = "explorer-save";

  one(".without-script", box).remove();
  box.append(form, tools, charts, chance, status, runsFold.element, dataFold.element, save, tip);
  addEventListener("keydown", (event) => {
    if (event.key === "Escape") hideTip();
  });
  addEventListener("hashchange", () => {
    if (location.hash && !location.hash.includes("=")) return; // to a heading of the page
    state = readAddress();
    show();
  });
  let width = 0;
  new ResizeObserver(() => {
    if (charts.clientWidth === width) return;
    const first = width === 0;
    width = charts.clientWidth;
    if (!first) show();
  }).observe(charts);
  show();
})();
