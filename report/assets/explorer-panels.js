// What the curve explorer shows for a choice: the panels that stand side by side, each with its lines, their looks and points.
(() => {
  "use strict";
  const DASHES = [[1, 0], [7, 3], [2, 2], [9, 3, 2, 3], [4, 4]];
  const MOST_MARKED = 60; // points of a line that has markers
  const CELLS = 4; // where the quantities begin in a point

  window.explorerPanels = (data) => {
    const { words, columns } = data;
    const adapters = new Map(data.adapters.map((adapter) => [adapter.id, adapter]));
    const variants = new Map(data.variants.map((variant) => [variant.id, variant]));
    const views = new Map(data.views.map((view) => [view.id, view.quantities]));
    const place = Object.fromEntries(data.quantities.map((name, i) => [name, CELLS + i]));
    const hasSeeds = data.lines.some((line) => line.seed === null) || data.seeds.length > 1;
    const fill = (text, values) => text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
    const keyOf = (adapter, variant) => `${adapter}/${variant}`;
    const ofRuns = (axis) => axis === "learning_rate" || axis === "rank";

    // Every line by adapter and variant: the mean over seeds, if there is one, and each seed's.
    const lines = new Map();
    for (const line of data.lines) {
      const key = keyOf(line.adapter, line.variant);
      lines.set(key, [...(lines.get(key) ?? []), line]);
    }

    const titleOf = (quantity) => words[quantity] ?? columns[quantity];
    const seedOf = (line) => (line.seed === null ? fill(words.mean_of, { n: line.n }) : String(line.seed));
    const rangeOf = (cell) => (cell.length > 2 ? fill(words.range, { low: cell[3], high: cell[5] }) : "");
    const isStep = (quantity) => quantity.startsWith("step");

    function linesOf(key, { seeds }) {
      const found = lines.get(key) ?? [];
      if (seeds === "each") return found.filter((line) => line.seed !== null);
      if (seeds !== "mean") return found.filter((line) => String(line.seed) === seeds);
      return found.filter((line) => line.seed === null || found.length === 1);
    }

    // The variants of an adapter that a choice means, in one list a panel.
    function cellsOf(state) {
      const { setting } = state;
      if (setting === "best") return [{ title: words.best, of: (adapter) => [data.best[adapter]] }];
      if (setting === "batch_sizes") return [{ title: words.batch_sizes, of: () => data.factors.batch_sizes }];
      if (setting === "own") {
        const own = (adapter) => [...variants.keys()].filter((variant) => state.runs.includes(keyOf(adapter, variant)));
        return [{ title: words.own, of: own }];
      }
      const rows = { rates: data.factors.rates, variants: [...variants.keys()] }[setting] ?? [setting];
      return rows.map((id) => ({
        title: setting === "rates" ? variants.get(id).rate_title : variants.get(id).title,
        of: () => [id],
      }));
    }

    // One adapter in several settings has a colour for each, from low to high; else a colour is an adapter, and dashes
    // tell its settings apart.
    function addLooks(chosen) {
      const of = (adapter) => new Set(chosen.filter((line) => line.adapter === adapter).map((line) => line.variant));
      const ids = [...new Set(chosen.map((line) => line.adapter))];
      const mixed = ids.some((adapter) => of(adapter).size > 1);
      const used = new Set(chosen.map((line) => line.variant));
      const factor = Object.values(data.factors).find((list) => [...used].every((id) => list.includes(id)));
      const order = (factor ?? [...variants.keys()]).filter((id) => used.has(id));
      for (const line of chosen) {
        const { color, dash, shape } = adapters.get(line.adapter);
        const at = order.indexOf(line.variant);
        const ramp = data.ramp[Math.round((at * (data.ramp.length - 1)) / Math.max(1, order.length - 1))];
        line.look = mixed ? { color: ids.length > 1 ? color : ramp, dash: ids.length > 1 ? DASHES[at % DASHES.length] : [1, 0], shape } : { color, dash, shape };
        const parts = [adapters.get(line.adapter).name, mixed && variants.get(line.variant).title, line.each && line.seed];
        line.label = parts.filter(Boolean).join(" · ");
        if (line.points.length > MOST_MARKED) line.look = { ...line.look, dash: mixed ? line.look.dash : [1, 0], shape: null };
      }
      return mixed;
    }

    // The running mean of TensorBoard: without the pull towards zero at the beginning.
    function smooth(points, weight) {
      let [sum, scale] = [0, 0];
      return points.map((point) => {
        sum = weight * sum + (1 - weight) * point.value;
        scale = weight * scale + (1 - weight);
        const value = sum / scale;
        return { ...point, value, low: value, high: value, raw: point.value };
      });
    }

    function pointsOf(line, quantity, { axis, smoothing }) {
      if (isStep(quantity)) {
        const points = line.steps.map(([step, loss, rate, seconds]) => {
          const shown = quantity === "step_loss" ? loss : rate;
          const x = { epoch: step / line.per_epoch, step, seconds: Number(seconds) }[axis];
          const value = Number(shown);
          return { x, value, low: value, high: value, shown, at: axis === "seconds" ? seconds : String(step), row: [step, seconds, value] };
        });
        return quantity === "step_loss" && smoothing ? smooth(points, smoothing / 100) : points;
      }
      return line.points.flatMap((point) => {
        const cell = point[place[quantity]];
        const step = line.per_epoch === null ? null : Math.round(point[0] * line.per_epoch);
        const x = { epoch: point[0], step, seconds: point[3] === null ? null : Number(point[3]) }[axis];
        if (!cell || x === null) return [];
        const at = { epoch: point[1], step: String(step), seconds: point[3] }[axis];
        return [{ x, value: cell[0], low: cell[2] ?? cell[0], high: cell[4] ?? cell[0], at, shown: cell[1] + rangeOf(cell) }];
      });
    }

    function curvePanels(state) {
      const quantities = views.get(state.metric);
      const cells = cellsOf(state).map((cell) => {
        const chosen = state.adapters.flatMap((id) => cell.of(id).flatMap((variant) => linesOf(keyOf(id, variant), state)));
        return { title: cell.title, lines: chosen };
      });
      const panels = quantities.flatMap((quantity) =>
        cells.map((cell) => {
          const drawn = cell.lines.map((line) => ({
            key: JSON.stringify([line.adapter, line.variant, line.seed]), adapter: line.adapter, variant: line.variant,
            seed: line.seed, each: state.seeds === "each", points: pointsOf(line, quantity, state), source: line,
          })).filter((line) => line.points.length); // prettier-ignore
          const mixed = addLooks(drawn);
          return { quantity, title: titleOf(quantity), setting: cell.title, lines: drawn, mixed };
        }),
      );
      // More settings than fit beside each other: a setting's quantities stay together instead.
      const n = cells.length;
      if (n > 3) panels.sort((a, b) => cells.findIndex(({ title }) => title === a.setting) - cells.findIndex(({ title }) => title === b.setting));
      const width = n > 3 && quantities.length > 1 ? 2 : Math.min(Math.max(n, quantities.length), 3);
      return { panels, width: n === 1 ? Math.min(quantities.length, 2) : width, quantities, sources: [...new Set(cells.flatMap((cell) => cell.lines))] };
    }

    // A result of each run against its learning rate, or against its adapter's rank.
    function runPanel(state) {
      const { metric, axis } = state;
      const isMeant = (row) => {
        if (axis === "learning_rate") return data.factors.rates.includes(row.variant);
        if (state.setting === "own") return state.runs.includes(keyOf(row.adapter, row.variant));
        return row.variant === (variants.has(state.setting) ? state.setting : data.best[row.adapter]);
      };
      const rows = data.runs.rows.filter((row) => state.adapters.includes(row.adapter) && isMeant(row) && row.results[metric]);
      const drawn = state.adapters.map((adapter) => {
        const points = rows.filter((row) => row.adapter === adapter).flatMap((row) => {
          const cell = row.results[metric];
          const { rate, rate_text: text } = variants.get(row.variant);
          const [x, at] = axis === "rank" ? [adapters.get(adapter).rank, String(adapters.get(adapter).rank)] : [rate, text];
          const [low, high] = [cell[2] ?? cell[0], cell[4] ?? cell[0]];
          return x === null ? [] : [{ x, value: cell[0], low, high, bar: true, at, shown: cell[1] + rangeOf(cell), row }];
        }); // prettier-ignore
        points.sort((a, b) => a.x - b.x);
        return { key: adapter, adapter, label: adapters.get(adapter).name, look: lookOf(adapter), points };
      }).filter((line) => line.points.length); // prettier-ignore
      const setting = axis === "rank" ? cellsOf({ ...state, setting: variants.has(state.setting) || state.setting === "own" ? state.setting : "best" })[0].title : words.all_rates;
      return { panels: [{ quantity: metric, title: titleOf(metric), setting, lines: drawn }], width: 1, quantities: [metric], sources: [] };
    }

    const lookOf = (adapter) => {
      const { color, dash, shape } = adapters.get(adapter);
      return { color, dash, shape };
    };

    const choose = (state) => (ofRuns(state.axis) ? runPanel(state) : curvePanels(state));

    // The rows of the data: of runs, of steps, or a line's point each.
    function dataRows(chosen, { axis }) {
      if (ofRuns(axis)) return chosen.panels[0].lines.flatMap((line) => line.points.map((point) => ({ line, point })));
      const has = (point) => chosen.quantities.some((name) => point[place[name]]);
      const rows = (line) => (isStep(chosen.quantities[0]) ? line.steps : line.points.filter(has));
      return chosen.sources.flatMap((line) => rows(line).map((point) => ({ line, point })));
    }

    const stepValue = (quantity, point) => point[quantity === "step_loss" ? 1 : 2];

    // The head and the rows of the table; each row leads to its record.
    function dataTable(chosen, state) {
      const [quantity] = chosen.quantities;
      const titles = chosen.quantities.map(titleOf);
      const nameOf = ({ adapter, variant }) => [adapters.get(adapter).name, variants.get(variant).title];
      if (ofRuns(state.axis)) {
        const rows = dataRows(chosen, state).map(({ point: { row, at, shown } }) => ({ href: row.link, cells: [...nameOf(row), at, shown] }));
        return [[columns.adapter, columns.variant, words[`axis_${state.axis}`], ...titles], rows];
      }
      const rows = dataRows(chosen, state).map(({ line, point }) => {
        const first = [...nameOf(line), ...(hasSeeds ? [seedOf(line)] : [])];
        const anchor = isStep(quantity) ? `-steps-${point[0] - 1}` : point[2];
        const href = line.seed !== null && line.link?.includes("#") ? line.link + anchor : line.link;
        if (isStep(quantity)) return { href, cells: [...first, String(point[0]), stepValue(quantity, point)] };
        const cells = chosen.quantities.map((name) => point[place[name]]);
        return { href, cells: [...first, point[1], ...cells.map((cell) => (cell ? cell[1] + rangeOf(cell) : "–"))] };
      });
      const at = isStep(quantity) ? words.axis_step : columns.epoch;
      return [[columns.adapter, columns.variant, ...(hasSeeds ? [columns.seed] : []), at, ...titles], rows];
    }

    // The same as numbers, in full; those of steps as the page has them.
    function csvRows(chosen, state) {
      const [quantity] = chosen.quantities;
      const rows = dataRows(chosen, state).map(({ line, point }) => {
        if (ofRuns(state.axis)) return { line: point.row, at: [point.x], cells: [point.row.results[state.metric]] };
        if (isStep(quantity)) return { line, at: [point[0], Number(point[3])], cells: [[Number(stepValue(quantity, point))]] };
        return { line, at: [point[0]], cells: chosen.quantities.map((name) => point[place[name]] ?? []) };
      });
      const ranged = chosen.quantities.map((_, i) => rows.some(({ cells }) => cells[i].length > 2));
      const at = ofRuns(state.axis) ? [words[`axis_${state.axis}`]] : isStep(quantity) ? [words.axis_step, words.axis_seconds] : [columns.epoch];
      const head = ["id", columns.adapter, columns.variant, columns.learning_rate, columns.seed, columns.n_seeds, ...at];
      chosen.quantities.forEach((name, i) => {
        const title = titleOf(name);
        head.push(title, ...(ranged[i] ? [`${title} ${columns.low}`, `${title} ${columns.high}`] : []));
      });
      const body = rows.map(({ line, at: places, cells }) => {
        const variant = variants.get(line.variant);
        const values = cells.flatMap((cell, i) => [cell[0], ...(ranged[i] ? [cell[2], cell[4]] : [])]);
        return [line.adapter, adapters.get(line.adapter).name, variant.title, variant.rate, line.seed, line.n, ...places, ...values];
      });
      return [head, ...body];
    }

    return { adapters, variants, views, place, hasSeeds, fill, keyOf, ofRuns, isStep, titleOf, choose, dataRows, dataTable, csvRows };
  };
})();
