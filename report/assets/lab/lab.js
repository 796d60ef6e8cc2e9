// The training lab: a form for the settings of a training, which runs in the page, and the curves, dots and sentences that
// follow from it. A form of one knob, inside an explanation, is the same with less.
(() => {
  "use strict";
  const { unpack, train } = globalThis.labTraining;
  const { curves, strip, make } = globalThis.labCharts;
  const FRAMES = 100; // pictures of a training, so that it is seen to go on
  const fill = (/** @type {string} */ text, /** @type {Record<string, string | number>} */ values) =>
    text.replace(/\{(\w+)\}/g, (whole, name) => String(values[name] ?? whole));
  const rateText = (/** @type {number} */ rate) => rate.toExponential().replace("e+", "e");
  const lossText = (/** @type {number} */ loss) => loss.toFixed(3);
  const sizeText = (/** @type {number} */ size) => (size < 0.01 ? size.toExponential(1) : size.toPrecision(2));
  const percent = (/** @type {number} */ share) => `${(share * 100).toFixed(1)}%`;
  const epochText = (/** @type {number} */ epoch) => String(Number(epoch.toFixed(2)));

  /** @type {Promise<LabMaterial> | null} */
  let material = null;

  /** @param {LabTools} tools */
  function loadMaterial({ load, settings }) {
    material ??= load(settings.data).then(() => unpack(/** @type {LabData} */ (globalThis.labData)));
    material.catch(() => {
      material = null;
    });
    return material;
  }

  /** @param {HTMLElement} box @param {LabTools} tools */
  function openLab(box, tools) {
    const { settings } = tools;
    const { words, submitted } = settings;
    const knob = box.dataset.knob || null;
    const whole = knob === null;
    const still = matchMedia("(prefers-reduced-motion: reduce)");

    // What is chosen. The address of the lab's own page holds it, so that a run can be sent to somebody.
    /** @type {LabChoice} */
    let choice = { ...submitted, ...(knob ? settings.embedded[knob] : {}) };
    /** @type {string | null} */
    let preset = whole ? "submitted" : null;
    /** @type {string | null} */
    let expected = null;
    /** @type {LabRun | null} */
    let now = null;
    /** @type {LabRun | null} */
    let before = null;
    let isPinned = false;
    let turn = 0;

    const KEYS = /** @type {const} */ ({ rate: settings.rates, batch: settings.batches, epochs: settings.epochs, seed: settings.seeds });
    const writeChoice = (/** @type {LabChoice} */ own) => [rateText(own.rate), own.batch, own.strategy, own.epochs, own.seed].join("_");
    /** @param {string | null} text @returns {LabChoice | null} */
    function readChoice(text) {
      const [rate, batch, strategy, epochs, seed] = (text ?? "").split("_");
      const found = { rate: Number(rate), batch: Number(batch), epochs: Number(epochs), seed: Number(seed) };
      const known = Object.entries(KEYS).every(([key, values]) => values.includes(found[/** @type {keyof typeof KEYS} */ (key)]));
      return known && ["no", "epoch", "steps"].includes(strategy) ? { ...submitted, ...found, strategy: /** @type {LabStrategy} */ (strategy) } : null;
    }
    function writeAddress() {
      if (!whole || !now) return;
      const kept = new URLSearchParams({ run: writeChoice(now.choice), ...(before ? { before: writeChoice(before.choice) } : {}) });
      history.replaceState(history.state, "", `#${kept}`);
    }
    const nameOf = (/** @type {LabChoice} */ own) =>
      fill(words.name, { rate: rateText(own.rate), batch: own.batch, strategy: strategyName(own.strategy), epochs: own.epochs, seed: own.seed });
    const strategyName = (/** @type {LabStrategy} */ strategy) => fill(words[`strategy_${strategy}`], { every: submitted.every });

    // Controls: a slider for each quantity, whose text says the value.
    /** @type {(() => void)[]} */
    const shown = [];
    /** @param {keyof typeof KEYS} key @param {(value: number) => string} textOf */
    function slider(key, textOf) {
      const values = KEYS[key];
      const input = /** @type {HTMLInputElement} */ (make("input", { type: "range", name: key, min: "0", max: String(values.length - 1), step: "1" }));
      const output = make("output", {});
      shown.push(() => {
        input.value = String(values.indexOf(choice[key]));
        output.textContent = textOf(choice[key]);
        input.setAttribute("aria-valuetext", output.textContent);
      });
      input.addEventListener("input", () => change({ [key]: values[Number(input.value)] }));
      return make("label", {}, make("span", {}, words[key], output), input);
    }
    /** @param {string} name @param {string} label @param {[string, string][]} options @param {(value: string) => void} choose @param {() => string} read */
    function select(name, label, options, choose, read) {
      const input = /** @type {HTMLSelectElement} */ (make("select", { name }, ...options.map(([value, textContent]) => make("option", { value, textContent }))));
      input.addEventListener("change", () => choose(input.value));
      shown.push(() => {
        input.value = read();
      });
      return make("label", {}, make("span", { textContent: label }), input);
    }
    /** @type {[string, string][]} */
    const strategies = /** @type {const} */ (["no", "epoch", "steps"]).map((id) => [id, strategyName(id).replace(/^./, (letter) => letter.toUpperCase())]);
    const knobs = {
      learning_rate: () => slider("rate", rateText),
      batch_size: () => slider("batch", String),
      eval_strategy: () => select("strategy", words.strategy, strategies, (value) => change({ strategy: /** @type {LabStrategy} */ (value) }), () => choice.strategy),
      epochs: () => slider("epochs", String),
    }; // prettier-ignore

    function change(/** @type {Partial<LabChoice>} */ changes) {
      choice = { ...choice, ...changes };
      preset = null;
      showChoice();
    }
    function showChoice() {
      for (const show of shown) show();
    }

    const button = (/** @type {string} */ text, /** @type {() => void} */ act, className = "") => {
      const made = /** @type {HTMLButtonElement} */ (make("button", { type: "button", textContent: text, className }));
      made.addEventListener("click", act);
      return made;
    };
    const start = button(words.train, () => run(choice), "lab-start");
    const presets = settings.presets.map(({ id, choice: own }) => {
      const made = button(words[`preset_${id}`], () => {
        choice = { ...submitted, ...own };
        preset = id;
        showChoice();
      });
      shown.push(() => made.setAttribute("aria-pressed", String(preset === id)));
      return made;
    });
    const guesses = make("fieldset", { className: "lab-guess" }, make("legend", { textContent: words.expect }));
    for (const id of ["flat", "fits", "overfits"]) {
      const input = make("input", { type: "radio", name: `expected-${box.dataset.knob ?? ""}`, value: id });
      input.addEventListener("change", () => {
        expected = id;
      });
      guesses.append(make("label", {}, input, words[`expect_${id}`]));
    }
    const pin = button(words.pin, () => {
      isPinned = !isPinned;
      if (isPinned && now) before = now;
      if (!isPinned) before = null;
      pin.textContent = isPinned ? words.unpin : words.pin;
      pin.setAttribute("aria-pressed", String(isPinned));
      writeAddress();
      redraw();
    });
    pin.hidden = true;

    // Pictures
    const losses = curves(
      words.losses, { x: words.epoch, level: settings.chance.loss, legend: [["train", words.train_loss], ["validation", words.validation_loss]] },
      ({ steps }) => [
        { kind: "steps", points: steps.filter((step) => step.loss !== null).map((step) => [step.epoch, /** @type {number} */ (step.loss)]) },
        { kind: "train", points: steps.filter((step) => step.train_loss !== null).map((step) => [step.epoch, /** @type {number} */ (step.train_loss)]) },
        { kind: "validation", dots: true, points: steps.filter((step) => step.validation).map((step) => [step.epoch, /** @type {LabScore} */ (step.validation).loss]) },
      ],
    ); // prettier-ignore
    const accuracy = curves(
      words.accuracy, { x: words.epoch, level: settings.chance.accuracy, percent: true, legend: [["validation", words.validation_accuracy]] },
      ({ steps }) => [{ kind: "validation", dots: true, points: steps.filter((step) => step.validation).map((step) => [step.epoch, /** @type {LabScore} */ (step.validation).accuracy]) }],
    ); // prettier-ignore
    const look = { low: words.wrong_end, high: words.right_end, level: 1 / settings.n_labels };
    const strips = { train: strip(words.train_sentences, look), validation: strip(words.validation_sentences, look) };
    const time = /** @type {HTMLInputElement} */ (make("input", { type: "range", name: "time", min: "0", value: "0", step: "1" }));
    const place = make("output", {});
    time.addEventListener("input", () => redraw(Number(time.value)));
    const timeLabel = make("label", { className: "lab-time" }, make("span", {}, words.back, place), time);
    const legend = make("p", { className: "lab-legend" });
    const said = make("div", { className: "lab-said" });
    said.setAttribute("role", "status");
    const table = make("details", { className: "lab-table", hidden: true }, make("summary", { textContent: words.table }));

    // The moments that the pictures can go back to: before the first step, and each at which rows were looked at.
    const momentsOf = (/** @type {LabRun} */ { steps }) => steps.flatMap((step, i) => (step.train || step.validation ? [i] : []));

    /** @param {number | null} moment which of the moments; null: the latest */
    function redraw(moment = null) {
      const runs = [now, before].filter((run) => run !== null);
      if (!now) return;
      const moments = momentsOf(now);
      const at = moment ?? moments.length - 1;
      const step = now.steps[moments[at] ?? 0];
      const latest = (/** @type {"train" | "validation"} */ rows) =>
        /** @type {LabRun} */ (now).steps.slice(0, (moments[at] ?? 0) + 1).findLast((one) => one[rows])?.[rows] ?? null;
      losses.draw(runs, moment === null ? null : step.epoch);
      if (whole) accuracy.draw(runs, moment === null ? null : step.epoch);
      for (const rows of /** @type {const} */ (["train", "validation"])) {
        const score = latest(rows);
        const blind = rows === "validation" && now.choice.strategy === "no";
        const text = blind ? words.unseen : score ? fill(words.share, { accuracy: percent(score.accuracy), loss: lossText(score.loss) }) : "";
        strips[rows].draw(blind ? null : (score?.probabilities ?? null), text);
      }
      time.max = String(Math.max(1, moments.length - 1));
      time.value = String(at);
      place.textContent = fill(words.at, { epoch: epochText(step.epoch) });
      time.setAttribute("aria-valuetext", `${place.textContent} ${words.train_sentences} ${latest("train") ? percent(/** @type {LabScore} */ (latest("train")).accuracy) : ""}`);
      const names = runs.map((run, i) => make("span", { className: i ? "lab-name-before" : "lab-name-now", textContent: nameOf(run.choice) }));
      legend.replaceChildren(...names);
    }

    // What happened, computed. A loss has moved if it moved by a share of the loss of guessing.
    /** @param {LabRun} run */
    function judge({ steps }) {
      const epochs = steps.filter((step) => step.train_loss !== null);
      const seen = steps.filter((step) => step.validation && step.step);
      const lastLoss = /** @type {number} */ (epochs[epochs.length - 1].train_loss);
      if (!seen.length) return { verdict: "blind", lastLoss, lowest: null, last: null };
      const score = (/** @type {LabStep} */ step) => /** @type {LabScore} */ (step.validation);
      const lowest = seen.reduce((best, step) => (score(step).loss < score(best).loss ? step : best));
      const last = seen[seen.length - 1];
      const { loss } = settings.chance;
      const rises = score(last).loss - score(lowest).loss > settings.rise * loss && lastLoss < loss;
      return { verdict: rises ? "overfits" : lastLoss > loss * (1 - settings.fall) ? "flat" : "fits", lastLoss, lowest, last };
    }

    /** @param {LabRun} run */
    function report(run) {
      const outcome = /** @type {LabOutcome} */ (run.outcome);
      const { verdict, lastLoss, lowest, last } = judge(run);
      const firstLoss = /** @type {number} */ (run.steps.find((step) => step.train_loss !== null)?.train_loss);
      const lines = [make("p", { className: "lab-verdict", textContent: words[`verdict_${verdict}`] })];
      if (expected) {
        const right = expected === verdict;
        const text = verdict === "blind" ? words.guess_blind : right ? words.guess_right : fill(words.guess_wrong, { expected: words[`expect_${expected}`] });
        lines.push(make("p", { textContent: text }));
      }
      const facts = [fill(words.said_train, { first: lossText(firstLoss), last: lossText(lastLoss) })];
      if (lowest && last) {
        const loss = (/** @type {LabStep} */ step) => lossText(/** @type {LabScore} */ (step.validation).loss);
        facts.push(fill(words.said_validation, { lowest: loss(lowest), epoch: epochText(lowest.epoch), last: loss(last) }));
      }
      const test = outcome.kept.probabilities.length;
      const keptEpoch = epochText(outcome.kept_step / outcome.per_epoch);
      const right = (/** @type {LabScore} */ score) => Math.round(score.accuracy * test);
      facts.push(
        outcome.kept_step < run.steps[run.steps.length - 1].step
          ? fill(words.said_kept, { epoch: keptEpoch, kept: right(outcome.kept), kept_loss: lossText(outcome.kept.loss), last: right(outcome.last), last_loss: lossText(outcome.last.loss), test })
          : fill(words.said_last, { last: right(outcome.last), last_loss: lossText(outcome.last.loss), test }),
        fill(words.said_steps, { steps: run.steps.length - 1, evaluations: outcome.n_evaluations, moved: sizeText(outcome.moved), reach: sizeText((run.choice.rate * (run.steps.length - 1)) / 2) }),
      ); // prettier-ignore
      lines.push(make("p", { textContent: facts.join(settings.language === "zh" ? "" : " ") }), make("p", { className: "lab-mark", textContent: words.mark }));
      said.replaceChildren(...lines);
      const rows = run.steps.filter((step) => step.train_loss !== null || step.validation);
      const cells = rows.map(({ epoch, train_loss, validation }) => [epochText(epoch), train_loss === null ? "" : lossText(train_loss), validation ? lossText(validation.loss) : "", validation ? percent(validation.accuracy) : ""]);
      const head = [words.epoch, words.train_loss, words.validation_loss, words.validation_accuracy].map((textContent) => make("th", { scope: "col", textContent }));
      const frame = make("div", { className: "lab-frame", tabIndex: 0 }, make("table", {}, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...cells.map((row) => make("tr", {}, ...row.map((textContent) => make("td", { textContent })))))));
      frame.setAttribute("role", "group");
      frame.setAttribute("aria-label", words.table);
      table.hidden = false;
      table.replaceChildren(table.firstElementChild ?? "", frame);
    }

    // A training goes on between two pictures, as many steps as make a hundred pictures of it; for a reader who asked for
    // rest there is one picture, the last.
    /** @param {LabChoice} own */
    async function run(own) {
      turn += 1;
      const mine = turn;
      start.disabled = true;
      box.dataset.state = "training";
      said.replaceChildren(make("p", { textContent: fill(words.loading, { size: settings.size }) }));
      try {
        const rows = await loadMaterial(tools);
        if (mine !== turn) return;
        said.replaceChildren(make("p", { textContent: words.training }));
        if (!isPinned) before = now;
        now = { choice: own, steps: [], outcome: null };
        results.hidden = false;
        const training = train(rows, own);
        for (;;) {
          const done = advance(training, now);
          if (!still.matches || done) redraw();
          if (done) break;
          await new Promise((resolve) => (still.matches || document.hidden ? setTimeout(resolve) : requestAnimationFrame(() => resolve(null))));
          if (mine !== turn) return;
        }
        report(now);
        pin.hidden = !whole;
        writeAddress();
        box.dataset.state = "trained";
      } catch {
        said.replaceChildren(make("p", { textContent: words.failed }));
        box.dataset.state = "failed";
      } finally {
        if (mine === turn) start.disabled = false;
      }
    }

    /** @param {Generator<LabStep, LabOutcome>} training @param {LabRun} run */
    function advance(training, run) {
      const until = performance.now() + 40;
      for (let i = 0; ; i += 1) {
        const next = training.next();
        if (next.done) {
          run.outcome = next.value;
          return true;
        }
        run.steps.push(next.value);
        if (performance.now() > until || i >= next.value.total / FRAMES - 1) return false;
      }
    }

    const results = make(
      "div", { className: "lab-results", hidden: true }, legend,
      make("div", { className: "lab-charts" }, losses.element, ...(whole ? [accuracy.element] : [])),
      make("div", { className: "lab-strips" }, strips.train.element, strips.validation.element), timeLabel,
    ); // prettier-ignore
    const form = make(
      "form", { className: "lab-form" },
      ...(whole ? [make("div", { className: "lab-presets" }, make("span", { textContent: words.presets }), ...presets)] : []),
      make("div", { className: "lab-knobs" }, ...(knob ? [knobs[/** @type {keyof typeof knobs} */ (knob)]()] : [...Object.values(knobs).map((knobOf) => knobOf()), select("seed", words.seed, settings.seeds.map((seed) => [String(seed), String(seed)]), (value) => change({ seed: Number(value) }), () => String(choice.seed))])),
      ...(whole ? [guesses] : []), make("div", { className: "lab-buttons" }, start, pin),
    ); // prettier-ignore
    form.setAttribute("aria-label", words.form);
    form.addEventListener("submit", (event) => event.preventDefault());
    const others = make("p", { className: "lab-others", hidden: whole, textContent: knob ? fill(words[`others_${knob}`], { rate: rateText(choice.rate), batch: choice.batch, strategy: strategyName(choice.strategy), epochs: choice.epochs }) : "" });
    if (knob) {
      const more = /** @type {HTMLAnchorElement} */ (make("a", { textContent: words.more }));
      shown.push(() => {
        more.href = `${settings.page}#run=${writeChoice(choice)}`;
      });
      others.append(" ", more);
    }
    box.replaceChildren(others, form, results, said, ...(whole ? [table] : []));
    box.hidden = false;
    showChoice();

    let width = 0;
    new ResizeObserver(() => {
      if (box.clientWidth !== width) redraw();
      width = box.clientWidth;
    }).observe(box);
    async function follow() {
      const given = new URLSearchParams(location.hash.slice(1));
      const wanted = readChoice(given.get("run"));
      if (!wanted) return;
      const other = readChoice(given.get("before"));
      if (other) await run(other);
      choice = wanted;
      preset = null;
      showChoice();
      await run(wanted);
    }
    if (whole) {
      addEventListener("hashchange", follow);
      follow();
    } else {
      start.focus();
    }
  }

  globalThis.openLab = openLab;
})();
