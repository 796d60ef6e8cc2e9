// The curve explorer: what is chosen, its charts, the table of the numbers drawn, the download. It reads the data that
// its page holds and formats no number. Without it the page has a figure and a table that stand still.
(() => {
  "use strict";
  const SVG = "http://www.w3.org/2000/svg";
  const one = (selector, within = document) => within.querySelector(selector);
  const make = (tag, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };
  const draw = (tag, attributes, ...children) => {
    const element = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  };
  const fill = (text, values) => text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);

  const box = one(".explorer");
  if (!box) return;
  const data = JSON.parse(one("script", box).textContent);
  const { words, columns } = data;
  const adapters = new Map(data.adapters.map((adapter) => [adapter.id, adapter]));
  const variants = new Map(data.variants.map((variant) => [variant.id, variant]));
  const views = new Map(data.views.map((view) => [view.id, view.quantities]));
  const place = Object.fromEntries(Object.keys(data.quantities).map((name, i) => [name, 3 + i])); // in a point
  const hasSeeds = data.lines.some((line) => line.seed === null) || data.seeds.length > 1;

  // Every line by adapter and variant: the mean over seeds, if there is one, and each seed's.
  const lines = new Map();
  for (const line of data.lines) {
    const key = JSON.stringify([line.adapter, line.variant]);
    if (!lines.has(key)) lines.set(key, []);
    lines.get(key).push(line);
  }

  // What is chosen lives in the address, so that a view can be sent to somebody; what is usual is left out.
  const settings = [
    ...(data.adapters.some((adapter) => data.best[adapter.id]) ? ["best"] : []),
    ...(data.rates.length > 1 ? ["rates"] : []),
    ...(variants.size > data.rates.length && variants.size > 1 ? ["variants"] : []),
  ];
  const usual = () => ({
    adapters: [...adapters.keys()],
    setting: settings[0] ?? [...variants.keys()][0],
    metric: data.views[0].id,
    seeds: "mean",
  });
  const isSetting = (name) => settings.includes(name) || variants.has(name);
  const isSeeds = (name) => ["mean", "each"].includes(name) || data.seeds.map(String).includes(name);

  function readAddress() {
    const given = new URLSearchParams(location.hash.slice(1));
    const state = usual();
    const ids = given.getAll("adapter"); // one that is empty stands for none
    const known = state.adapters.filter((id) => ids.includes(id));
    if (known.length || ids.includes("")) state.adapters = known;
    if (isSetting(given.get("setting"))) state.setting = given.get("setting");
    if (views.has(given.get("metric"))) state.metric = given.get("metric");
    if (hasSeeds && isSeeds(given.get("seeds"))) state.seeds = given.get("seeds");
    return state;
  }

  function writeAddress() {
    const kept = new URLSearchParams();
    const { adapters: all, ...others } = usual();
    if (state.adapters.length < all.length) {
      for (const id of state.adapters.length ? state.adapters : [""]) kept.append("adapter", id);
    }
    for (const [name, value] of Object.entries(others)) {
      if (state[name] !== value) kept.append(name, state[name]);
    }
    history.replaceState(history.state, "", kept.size ? `#${kept}` : location.pathname + location.search);
  }

  // The lines of an adapter in a variant, as far as the seeds are chosen.
  function chosenLines(adapter, variant) {
    const found = lines.get(JSON.stringify([adapter, variant])) ?? [];
    if (state.seeds === "each") return found.filter((line) => line.seed !== null);
    if (state.seeds !== "mean") return found.filter((line) => String(line.seed) === state.seeds);
    return found.filter((line) => line.seed === null || found.length === 1);
  }

  // What stands side by side: a panel a variant and quantity, each with its lines.
  function choosePanels() {
    const rows = { best: [null], rates: data.rates, variants: [...variants.keys()] }[state.setting] ?? [state.setting];
    const quantities = views.get(state.metric);
    const cells = rows.map((variant) => {
      const found = state.adapters.map((adapter) => [adapter, chosenLines(adapter, variant ?? data.best[adapter])]);
      const missing = found.filter(([, some]) => !some.length).map(([adapter]) => adapter);
      return { variant, lines: found.flatMap(([, some]) => some), missing };
    });
    const panels = quantities.flatMap((quantity) => cells.map((cell) => ({ ...cell, quantity })));
    // More variants than fit beside each other: a variant's quantities stay together instead.
    if (cells.length > 3) panels.sort((a, b) => rows.indexOf(a.variant) - rows.indexOf(b.variant));
    return { panels, cells, quantities, width: cells.length > 3 && quantities.length > 1 ? 2 : Math.min(cells.length, 3) };
  }

  const titleOf = (variant) => {
    if (variant === null) return words.best;
    return state.setting === "rates" ? variants.get(variant).rate_title : variants.get(variant).title;
  };
  const namesOf = (ids) => [...new Set(ids)].map((id) => adapters.get(id).name).join(words.comma);
  const seedOf = (line) => (line.seed === null ? fill(words.mean_of, { n: line.n }) : String(line.seed));
  const rangeOf = (cell) => (cell.length > 2 ? fill(words.range, { low: cell[3], high: cell[5] }) : "");

  // The points of a panel as its chart wants them.
  const pointsOf = (panel) =>
    // The baseline comes last: drawn first, it lies below the lines that are to be compared with it.
    [...panel.lines].reverse().flatMap((line) =>
      line.points
        .filter((point) => point[place[panel.quantity]])
        .map((point) => {
          const cell = point[place[panel.quantity]];
          return {
            adapter: line.adapter,
            line: JSON.stringify([line.adapter, line.variant, line.seed]),
            epoch: point[0],
            value: cell[0],
            low: cell[2] ?? cell[0], // a band without height where the range is not known
            high: cell[4] ?? cell[0],
            name: adapters.get(line.adapter).name,
            setting: variants.get(line.variant).title,
            seed: hasSeeds ? seedOf(line) : "",
            at: point[1],
            shown: cell[1] + rangeOf(cell),
          };
        }),
    );

  // All panels have the same axes, or they could not be compared; what guessing gives is always in sight.
  function boundsOf(drawn) {
    const points = drawn.flatMap((panel) => panel.points);
    const epochs = points.map((point) => point.epoch);
    const values = points.flatMap((point) => [point.low, point.high]);
    values.push(...drawn.map((panel) => data.quantities[panel.quantity].chance));
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const room = 0.05 * (high - low || 1);
    return { first: Math.min(...epochs), last: Math.max(...epochs), low: low - room, high: high + room };
  }

  // Charts: made anew at each choice, which takes some hundredths of a second. A later choice overtakes an earlier one.
  let turn = 0;
  const open = [];

  async function drawCharts(chosen) {
    const mine = ++turn;
    for (const view of open.splice(0)) view.finalize();
    const drawn = chosen.panels
      .map((panel) => ({ ...panel, points: pointsOf(panel), title: data.quantities[panel.quantity].title }))
      .filter((panel) => panel.points.length);
    charts.className = `explorer-charts explorer-charts-${Math.min(chosen.width, drawn.length)}`;
    charts.replaceChildren(
      ...drawn.map((panel) => {
        const title = `${panel.title} · ${titleOf(panel.variant)}`;
        panel.chart = make("div"); // Vega gives it a role and a name of its own, which nobody has to hear
        panel.chart.setAttribute("aria-hidden", "true");
        const picture = make("div", { className: "explorer-chart" }, panel.chart);
        picture.setAttribute("role", "img");
        picture.setAttribute("aria-label", fill(words.chart, { title, names: namesOf(panel.lines.map((line) => line.adapter)) }));
        const heading = make("p", { className: "explorer-title" });
        heading.append(make("span", { textContent: panel.title }), " ", make("span", { textContent: titleOf(panel.variant) }));
        return make("div", { className: "explorer-panel" }, heading, picture);
      }),
    );
    const bounds = boundsOf(drawn);
    for (const panel of drawn) {
      const spec = structuredClone(data.quantities[panel.quantity].spec);
      spec.width = panel.chart.clientWidth;
      spec.datasets = { ...spec.datasets, curves: panel.points };
      for (const parameter of spec.params) parameter.value = bounds[parameter.name];
      const view = await window.vegaEmbed(panel.chart, spec, {
        mode: "vega-lite",
        renderer: "svg",
        ast: true, // the page's policy lets no text become code
        actions: false,
        defaultStyle: false,
        tooltip: (handler, event, item, value) => showTip(event, value, panel.title),
      });
      if (mine !== turn) return view.finalize();
      open.push(view);
    }
  }

  // The values under the pointer, as texts; Escape puts them away.
  const tip = make("dl", { className: "explorer-tip", hidden: true });

  function showTip(event, value, quantity) {
    tip.hidden = !value;
    if (!value) return;
    const titles = { name: columns.adapter, setting: columns.variant, seed: columns.seed, at: columns.epoch, shown: quantity };
    tip.replaceChildren(
      ...Object.keys(titles)
        .filter((name) => value[name])
        .map((name) => make("div", {}, make("dt", { textContent: titles[name] }), make("dd", { textContent: value[name] }))),
    );
    const { clientX, clientY } = event.touches?.[0] ?? event;
    const at = (pointer, size, room) => Math.max(4, pointer + 14 + size > room ? pointer - 14 - size : pointer + 14);
    tip.style.left = `${at(clientX, tip.offsetWidth, document.documentElement.clientWidth)}px`;
    tip.style.top = `${at(clientY, tip.offsetHeight, innerHeight)}px`;
  }

  // The table and the download hold the same rows: a line's point each, in the order of the panels.
  function rowsOf(chosen) {
    const seen = new Set();
    return chosen.cells.flatMap((cell) =>
      cell.lines
        .filter((line) => !seen.has(line) && seen.add(line))
        .flatMap((line) =>
          line.points
            .filter((point) => chosen.quantities.some((name) => point[place[name]]))
            .map((point) => ({ line, point })),
        ),
    );
  }

  function showTable(rows, quantities) {
    const heads = [columns.adapter, columns.variant, ...(hasSeeds ? [columns.seed] : []), columns.epoch];
    const head = make("tr");
    for (const text of [...heads, ...quantities.map((name) => columns[name])]) {
      head.append(make("th", { scope: "col", textContent: text }));
    }
    const body = rows.map(({ line, point }) => {
      const name = adapters.get(line.adapter).name;
      const href = line.link && line.link.includes("#") ? line.link + point[2] : line.link;
      const first = href ? make("a", { href, textContent: name }) : name;
      const cells = [variants.get(line.variant).title, ...(hasSeeds ? [seedOf(line)] : []), point[1]];
      for (const quantity of quantities) {
        const cell = point[place[quantity]];
        cells.push(cell ? cell[1] + rangeOf(cell) : "–");
      }
      return make("tr", {}, make("td", {}, first), ...cells.map((text) => make("td", { textContent: text })));
    });
    table.replaceChildren(make("thead", {}, head), make("tbody", {}, ...body));
    frame.hidden = !rows.length;
  }

  // Numbers as the records have them. A text that a spreadsheet would take for a formula begins with an apostrophe.
  function csvCell(value) {
    if (typeof value !== "string") return String(value ?? "");
    const plain = value.replace(/[\u2066-\u2069]/g, ""); // what keeps a text's direction its own on the page
    const text = /^[=+\-@\t\r]/.test(plain) ? `'${plain}` : plain;
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  }

  function makeCsv() {
    const chosen = choosePanels();
    const { quantities } = chosen;
    const rows = rowsOf(chosen);
    const ranged = quantities.filter((name) => rows.some(({ point }) => point[place[name]]?.length > 2));
    const head = ["id", columns.adapter, columns.variant, columns.learning_rate, columns.seed, columns.n_seeds, columns.epoch];
    for (const name of quantities) {
      head.push(columns[name]);
      if (ranged.includes(name)) head.push(`${columns[name]} ${columns.low}`, `${columns[name]} ${columns.high}`);
    }
    const table = rows.map(({ line, point }) => {
      const variant = variants.get(line.variant);
      const cells = [line.adapter, adapters.get(line.adapter).name, variant.title, variant.rate, line.seed, line.n, point[0]];
      for (const name of quantities) {
        const cell = point[place[name]] ?? [];
        cells.push(cell[0], ...(ranged.includes(name) ? [cell[2], cell[4]] : []));
      }
      return cells;
    });
    // Excel takes a file for UTF-8 only where it begins with this mark.
    return "\ufeff" + [head, ...table].map((cells) => cells.map(csvCell).join(",")).join("\r\n") + "\r\n";
  }

  function download() {
    const address = URL.createObjectURL(new Blob([makeCsv()], { type: "text/csv;charset=utf-8" }));
    make("a", { href: address, download: `${words.file}-${state.metric}.csv` }).click();
    setTimeout(() => URL.revokeObjectURL(address), 10_000);
  }

  // Controls
  function swatch({ color, dash, shape }) {
    const line = draw("path", { d: "M1,8H43", stroke: color, "stroke-width": 2, "stroke-dasharray": dash.join(" ") });
    const marker = draw("path", { d: shape, fill: color, transform: "translate(22 8) scale(4)" });
    return draw("svg", { viewBox: "0 0 44 16", class: "explorer-swatch", "aria-hidden": "true" }, line, marker);
  }

  function choice(name, label, options) {
    const select = make("select", { name });
    for (const [value, text] of options) select.append(make("option", { value, textContent: text }));
    select.addEventListener("change", () => change({ [name]: select.value }));
    return make("label", {}, make("span", { textContent: label }), select);
  }

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
    const button = (text, chosen) => {
      const made = make("button", { type: "button", textContent: text });
      made.addEventListener("click", () => change({ adapters: chosen }));
      return made;
    };
    set.append(make("div", { className: "explorer-buttons" }, button(words.all, [...adapters.keys()]), button(words.none, [])));
    return set;
  }

  function showState() {
    for (const input of form.querySelectorAll("input")) input.checked = state.adapters.includes(input.value);
    for (const select of form.querySelectorAll("select")) select.value = state[select.name];
  }

  function show() {
    const chosen = choosePanels();
    const rows = rowsOf(chosen);
    showState();
    showTable(rows, chosen.quantities);
    save.disabled = !rows.length;
    const n_lines = new Set(rows.map(({ line }) => line)).size;
    const numbers = rows.flatMap(({ point }) => chosen.quantities.filter((name) => point[place[name]])).length;
    const missing = namesOf(chosen.cells.flatMap((cell) => cell.missing));
    status.textContent = [
      rows.length ? fill(words.status, { lines: n_lines, numbers }) : words.nothing,
      ...(missing ? [fill(words.missing, { names: missing })] : []),
    ].join(" ");
    drawCharts(chosen).catch(() => {
      charts.replaceChildren(make("p", { textContent: words.failed }));
    });
  }

  function change(changes) {
    Object.assign(state, changes);
    writeAddress();
    show();
  }

  let state = readAddress();
  const options = [
    ...settings.map((name) => [name, words[name]]),
    ...[...variants.values()].map((variant) => [variant.id, variant.title]),
  ];
  const metrics = data.views.map((view) => [view.id, words[view.id] ?? columns[view.id]]);
  const form = make(
    "form", { className: "explorer-controls" }, checkBoxes(),
    make("div", { className: "explorer-choices" }, choice("setting", words.setting, options), choice("metric", words.metric, metrics)),
  );
  if (hasSeeds) {
    const seeds = [["mean", words.mean], ...(data.seeds.length ? [["each", words.each]] : [])];
    seeds.push(...data.seeds.map((seed) => [String(seed), String(seed)]));
    form.lastChild.append(choice("seeds", words.seeds, seeds));
  }
  form.addEventListener("submit", (event) => event.preventDefault());
  const status = make("p", { className: "explorer-status" });
  status.setAttribute("role", "status");
  const charts = make("div", { className: "explorer-charts" });
  const chance = make("p", { className: "explorer-chance" });
  const dots = draw("path", { d: "M1,8H43", stroke: "#6b6b6b", "stroke-width": 1, "stroke-dasharray": "1 3" });
  chance.append(draw("svg", { viewBox: "0 0 44 16", class: "explorer-swatch", "aria-hidden": "true" }, dots), data.chance);
  const table = make("table");
  const frame = make("div", { className: "explorer-table table-frame", tabIndex: 0 }, table);
  frame.setAttribute("role", "group");
  frame.setAttribute("aria-label", words.table);
  const save = make("button", { type: "button", className: "explorer-save", textContent: words.download });
  save.addEventListener("click", download);

  one(".without-script", box).remove();
  box.append(form, status, charts, chance, frame, save, tip);
  addEventListener("keydown", (event) => {
    if (event.key === "Escape") tip.hidden = true;
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
