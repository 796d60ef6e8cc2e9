// The page on which readers try the adapters: it loads the model's files as scripts, answers what is typed, and lets the
// adapter's scale and rank be moved. A page opened from a disk can neither fetch nor start a worker, so it computes in
// short pieces between which the browser can draw.
(() => {
  "use strict";
  const { makeTokenizer, firstWords, wordsWithGaps, joined } = liveTokenizer;
  const { readTensors, makeBase, makeAdapter, filesOf, answer } = liveEncoder;
  const PIECE_MS = 25;
  const WAIT_MS = 400; // after the last key, before a text is answered
  /**
   * What a selector finds; it is there, since this script or the page's template has put it there.
   *
   * @template {Element} T
   * @param {string} selector
   * @param {ParentNode} within
   * @param {new () => T} kind
   */
  const one = (selector, within, kind) => {
    const found = within.querySelector(selector);
    if (!(found instanceof kind)) throw new Error(selector);
    return found;
  };
  /**
   * @template {keyof HTMLElementTagNameMap} K
   * @param {K} tag
   * @param {Record<string, unknown>} properties
   * @param {(Node | string)[]} children
   */
  const make = (tag, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };
  /** @param {string} text @param {Record<string, string | number>} values */
  const fill = (text, values) => text.replace(/\{(\w+)\}/g, (whole, name) => String(values[name] ?? whole));
  /** @param {number} share */
  const percent = (share) => `${(100 * share).toFixed(1)}%`;
  /** @param {number} bytes */
  const megabytes = (bytes) => (bytes < 1e5 ? `${(bytes / 1e3).toFixed(1)}\u00a0kB` : `${(bytes / 1e6).toFixed(1)}\u00a0MB`);
  /** @param {number} share */
  const signed = (share) => {
    const size = Math.abs(100 * share).toFixed(1);
    return size === "0.0" ? size : `${share < 0 ? "−" : "+"}${size}`;
  };

  if (!document.querySelector(".live")) return;
  const box = one(".live", document, HTMLElement);
  /** @type {LiveData} */
  const data = JSON.parse(one("script", box, HTMLScriptElement).text);
  const { words, labels, adapters, files } = data;
  const settings = ["best", "submitted"].filter((name) => adapters.some((adapter) => adapter.settings[name]));
  const two = labels.length === 2;

  // Files: each is several scripts, and each script calls liveFile with a part of it.
  /** @type {Map<string, Uint8Array[]>} */
  const received = new Map(); // by name, the bytes of the parts that have come
  /** @type {Map<string, Uint8Array>} */
  const complete = new Map();
  let bytesDone = 0;

  /** @param {string} text */
  function decode(text) {
    const raw = atob(text);
    const bytes = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i += 1) bytes[i] = raw.charCodeAt(i);
    return bytes;
  }

  globalThis.liveFile = (name, part, text) => {
    const parts = received.get(name) ?? [];
    parts[part] = decode(text);
    received.set(name, parts);
    bytesDone += text.length;
    progress.value = bytesDone;
  };

  /** @param {string} address @returns {Promise<void>} */
  function loadScript(address) {
    return new Promise((resolve, reject) => {
      const script = make("script", { src: address });
      script.addEventListener("load", () => {
        script.remove();
        resolve();
      });
      script.addEventListener("error", () => {
        script.remove();
        reject(new Error(address));
      });
      document.head.append(script);
    });
  }

  /** @type {Map<string, Promise<void>>} */
  const underway = new Map();

  /** @param {string} name */
  function loadFile(name) {
    let all = underway.get(name);
    if (!all) {
      all = (async () => {
        for (const part of files[name].parts) {
          await loadScript(part);
          progressSaid.textContent = fill(words.loading, { done: megabytes(bytesDone), size: megabytes(progress.max) });
        }
        const parts = received.get(name) ?? [];
        const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
        let at = 0;
        for (const part of parts) {
          bytes.set(part, at);
          at += part.length;
        }
        received.delete(name);
        complete.set(name, bytes);
      })();
      all.catch(() => underway.delete(name));
      underway.set(name, all);
    }
    return all;
  }

  // The model
  /** @type {((text: string) => number[]) | null} */
  let tokenizer = null;
  /** @type {LiveBase | null} */
  let base = null;
  /** @type {Map<string, LiveAdapter>} */
  const ready = new Map(); // adapters by file

  /** @param {number} number */
  const wordsFile = (number) => `words-${String(number).padStart(2, "0")}.safetensors`;
  const chosen = () => adapters.filter(({ id }) => one(`input[value="${CSS.escape(id)}"]`, choices, HTMLInputElement).checked);
  /** @param {LiveChoice[]} list */
  const filesFor = (list) => ["tokenizer.json", "encoder.safetensors", wordsFile(0), ...list.flatMap(({ settings: own }) => Object.values(own).map(({ file }) => file))];
  /** @param {string[]} names */
  const missing = (names) => names.filter((name) => !complete.has(name) && !(name === "encoder.safetensors" && base) && !ready.has(name));
  /** @param {string[]} names */
  const sizeOf = (names) => names.reduce((sum, name) => sum + files[name].bytes, 0);

  /** The tensors of a file; its bytes are not kept beside them. @param {string} name */
  function take(name) {
    const tensors = readTensors(/** @type {Uint8Array} */ (complete.get(name)));
    complete.set(name, new Uint8Array());
    return tensors;
  }

  async function load() {
    const started = performance.now();
    const names = missing(filesFor(chosen()));
    loadButton.disabled = true;
    progress.hidden = progressSaid.hidden = false;
    bytesDone = 0;
    progress.max = Math.max(1, sizeOf(names));
    progress.value = 0;
    try {
      for (const name of names) await loadFile(name);
    } catch {
      say(words.failed);
      loadButton.disabled = false;
      return;
    } finally {
      progress.hidden = progressSaid.hidden = true;
    }
    if (!base) {
      tokenizer = makeTokenizer(JSON.parse(new TextDecoder().decode(complete.get("tokenizer.json"))));
      base = makeBase(data.shape, take("encoder.safetensors"));
      base.words.set(0, take(wordsFile(0)));
    }
    for (const adapter of chosen()) {
      for (const { file } of Object.values(adapter.settings)) {
        if (!ready.has(file)) ready.set(file, makeAdapter(take(file)));
      }
    }
    const rank = Math.max(...[...ready.values()].map((adapter) => adapter.rank));
    rankSlider.max = String(rank);
    rankSlider.value = String(rank);
    rankLabel.hidden = rank === 0;
    say(fill(words.loaded, { seconds: ((performance.now() - started) / 1000).toFixed(1) }));
    showSizes();
    work.hidden = false;
    showDials();
    makeTable();
    if (textBox.value.trim()) await answerAll();
    else takeSentence();
    textBox.focus();
  }

  // Computing, in pieces
  const channel = new MessageChannel();
  /** @type {(() => void)[]} */
  const waiting = [];
  channel.port1.onmessage = () => waiting.shift()?.();
  /** @returns {Promise<void>} */
  const pause = () =>
    new Promise((resolve) => {
      waiting.push(resolve);
      channel.port2.postMessage(null);
    });

  let turn = 0;
  let pieceBegan = 0;

  // Return an answer, or null if another question has come since.
  /** @param {string} file @param {number[]} tokens @param {number} mine */
  async function compute(file, tokens, mine) {
    const adapter = ready.get(file);
    if (!base || !adapter) return null;
    const steps = answer(base, adapter, tokens, { scale: Number(scaleSlider.value), rank: Number(rankSlider.value) });
    for (;;) {
      if (performance.now() - pieceBegan > PIECE_MS) {
        await pause();
        pieceBegan = performance.now();
        if (mine !== turn) return null;
      }
      const step = steps.next();
      if (step.done) return step.value;
    }
  }

  // The tokens of a text, once the rows of the word embeddings that they need are there.
  /** @param {string} text */
  async function read(text) {
    if (!base || !tokenizer) return [];
    const tokens = tokenizer(text);
    for (const number of filesOf(base, tokens)) {
      if (base.words.has(number)) continue;
      await loadFile(wordsFile(number));
      base.words.set(number, take(wordsFile(number)));
    }
    return tokens;
  }

  const current = () => firstWords(textBox.value, data.max_words);
  const shown = () => adapters.filter((adapter) => Object.values(adapter.settings).every(({ file }) => ready.has(file)));

  const cells = () => /** @type {NodeListOf<HTMLElement>} */ (table.querySelectorAll("td[data-file]"));

  async function answerAll() {
    turn += 1;
    const mine = turn;
    clearWords();
    const text = current();
    for (const cell of cells()) cell.classList.add("live-old");
    if (!text) {
      say(words.empty);
      return;
    }
    let tokens;
    try {
      tokens = await read(text);
    } catch {
      say(words.failed);
      return;
    }
    say(words.computing);
    const began = performance.now();
    let n = 0;
    for (const cell of cells()) {
      const shares = await compute(cell.dataset.file ?? "", tokens, mine);
      if (!shares) return;
      showAnswer(cell, shares);
      n += 1;
    }
    const ms = n ? Math.round((performance.now() - began) / n) : 0;
    const isCut = wordsWithGaps(textBox.value).length > data.max_words;
    say([fill(words.answered, { n, ms, tokens: tokens.length }), isCut ? fill(words.cut, { n: data.max_words }) : ""].join(" ").trim());
    box.dataset.answered = String(mine);
  }

  /** @param {HTMLElement} cell @param {number[]} shares */
  function showAnswer(cell, shares) {
    const top = shares.indexOf(Math.max(...shares));
    const rows = (two ? [1] : labels.map((_, i) => i)).map((i) => {
      const filled = make("span");
      filled.style.width = percent(shares[i]);
      const bar = make("span", { className: "live-bar" }, filled);
      bar.setAttribute("aria-hidden", "true");
      const value = make("span", { className: "live-value", textContent: percent(shares[i]) });
      const label = two ? [] : [make("span", { className: i === top ? "live-label live-top" : "live-label", textContent: labels[i] })];
      return make("div", { className: "live-share" }, ...label, bar, value);
    });
    const about = [two ? labels[top] : "", cell.dataset.title ?? ""].filter(Boolean).join(" · ");
    if (about) rows.push(make("div", { className: "live-label", textContent: about }));
    cell.replaceChildren(...rows);
    cell.classList.remove("live-old");
    cell.dataset.shares = JSON.stringify(shares);
  }

  // Which words matter
  let wordsTurn = 0;

  function clearWords() {
    wordsTurn += 1;
    wordsList.replaceChildren();
    wordsSaid.textContent = wordsStep.textContent = "";
  }

  async function leaveOut() {
    clearWords();
    const mine = wordsTurn;
    const parts = wordsWithGaps(current());
    if (!parts.length) {
      wordsSaid.textContent = words.empty;
      return;
    }
    const file = whose.value;
    const whole = await compute(file, await read(joined(parts)), turn);
    if (!whole || mine !== wordsTurn) return;
    const label = whole.indexOf(Math.max(...whole));
    /** @type {number[]} */
    const falls = [];
    for (let i = 0; i < parts.length; i += 1) {
      wordsStep.textContent = fill(words.measuring, { i: i + 1, n: parts.length });
      const without = await compute(file, await read(joined(parts.filter((_, j) => j !== i))), turn);
      if (!without || mine !== wordsTurn) return;
      falls.push(whole[label] - without[label]);
    }
    wordsStep.textContent = "";
    const most = Math.max(0.02, ...falls.map(Math.abs));
    wordsList.replaceChildren(
      ...parts.map(([word], i) => {
        const strength = Math.abs(falls[i]) / most;
        const points = make("span", { className: "live-points", textContent: signed(falls[i]) });
        const item = make("li", { className: falls[i] < 0 ? "live-against" : "live-for" }, make("span", { className: "live-word", textContent: word }), points);
        item.style.setProperty("--strength", `${Math.round(45 * strength)}%`);
        return item;
      }),
    );
    wordsSaid.textContent = fill(words.measured, { label: labels[label], p: percent(whole[label]) });
    box.dataset.measured = String(mine);
  }

  // Controls
  let timer = 0;
  /** @param {number} ms */
  const soon = (ms) => {
    clearTimeout(timer);
    timer = setTimeout(() => answerAll(), ms);
  };

  let place = -1;
  function takeSentence() {
    if (!data.sentences.length) return;
    place = (place + 1) % data.sentences.length;
    const [text, label, lang] = data.sentences[place];
    textBox.value = text;
    textBox.lang = lang;
    truth.textContent = fill(words.truth, { label: labels[label] });
    answerAll();
  }

  function showDials() {
    const scale = Number(scaleSlider.value);
    const said = scale === 0 ? words.base : scale === 1 ? words.trained : String(scale);
    scaleSaid.textContent = said;
    scaleSlider.setAttribute("aria-valuetext", said);
    const kept = fill(words.of_rank, { rank: rankSlider.value, all: rankSlider.max });
    rankSaid.textContent = kept;
    rankSlider.setAttribute("aria-valuetext", kept);
  }

  function makeTable() {
    const head = make("tr", {}, make("th", { scope: "col", textContent: words.adapter }));
    for (const name of settings) head.append(make("th", { scope: "col", textContent: words[name] }));
    const body = shown().map((adapter) => {
      const swatch = make("span", { className: "live-swatch" });
      swatch.style.background = adapter.color;
      const cells = settings.map((name) => {
        const own = adapter.settings[name];
        const cell = make("td", { textContent: own ? "" : words.none });
        if (!own) return cell;
        cell.dataset.file = own.file;
        if (name === "best") cell.dataset.title = own.title;
        return cell;
      });
      const title = Object.values(adapter.settings)[0];
      const named = title.link ? make("a", { href: title.link, textContent: adapter.name }) : adapter.name;
      return make("tr", {}, make("th", { scope: "row" }, swatch, named), ...cells);
    });
    const caption = make("caption", { textContent: two ? fill(words.probability, { label: labels[1] }) : words.answers });
    table.replaceChildren(caption, make("thead", {}, head), make("tbody", {}, ...body));
    const before = whose.value;
    whose.replaceChildren(
      ...shown().flatMap((adapter) =>
        settings.filter((name) => adapter.settings[name]).map((name) => make("option", { value: adapter.settings[name].file, textContent: `${adapter.name} · ${words[name]}` })),
      ),
    );
    if (ready.has(before)) whose.value = before;
  }

  /** @param {string} text */
  const say = (text) => {
    status.textContent = text;
  };
  /** @param {string} text @param {() => void} act */
  const button = (text, act) => {
    const made = make("button", { type: "button", textContent: text });
    made.addEventListener("click", act);
    return made;
  };

  const choices = make("fieldset", {}, make("legend", { textContent: words.adapters }));
  for (const adapter of adapters) {
    const input = make("input", { type: "checkbox", value: adapter.id, checked: true });
    const size = sizeOf(Object.values(adapter.settings).map(({ file }) => file));
    input.addEventListener("change", () => showSizes());
    choices.append(make("label", {}, input, make("span", { textContent: adapter.name }), make("span", { className: "live-size", textContent: megabytes(size) })));
  }
  const loadButton = button("", () => load());
  loadButton.className = "live-load";
  const progress = make("progress", { hidden: true, max: 1, value: 0 });
  progress.setAttribute("aria-label", words.load.replace(/[（(].*$/, "").trim());
  // No screen reader says each step: what it says is the status at the end.
  const progressSaid = make("span", { className: "live-size", hidden: true });
  const status = make("p", { className: "live-status" });
  status.setAttribute("role", "status");

  function showSizes() {
    const names = missing(filesFor(chosen()));
    loadButton.textContent = names.length ? fill(words.load, { size: megabytes(sizeOf(names)) }) : words.ready;
    loadButton.disabled = names.length === 0 || chosen().length === 0;
  }

  const textBox = make("textarea", { rows: 3, placeholder: words.placeholder, spellcheck: false, autocomplete: "off" });
  textBox.addEventListener("input", () => {
    truth.textContent = "";
    place = -1;
    textBox.removeAttribute("lang");
    soon(WAIT_MS);
  });
  const truth = make("p", { className: "live-truth" });
  const scaleSlider = make("input", { type: "range", name: "scale", min: "0", max: "2", step: "0.1", value: "1" });
  const scaleSaid = make("output");
  const rankSlider = make("input", { type: "range", name: "rank", min: "0", max: "1", step: "1", value: "1" });
  const rankSaid = make("output");
  for (const slider of [scaleSlider, rankSlider]) {
    slider.addEventListener("input", () => {
      showDials();
      soon(60);
    });
  }
  const rankLabel = make("label", {}, make("span", { textContent: words.rank }), rankSlider, rankSaid);
  const table = make("table", { className: "live-answers" });
  const whose = make("select", { name: "whose" });
  whose.addEventListener("change", clearWords);
  const measure = button(words.measure, () => leaveOut());
  measure.className = "live-measure";
  const wordsSaid = make("p", { className: "live-words-said" });
  wordsSaid.setAttribute("role", "status");
  const wordsStep = make("span", { className: "live-size" });
  const wordsList = make("ol", { className: "live-words" });
  const heading = make("p", { className: "live-heading", textContent: words.words });
  const work = make(
    "div", { className: "live-work", hidden: true },
    make("label", { className: "live-text" }, make("span", { textContent: words.text }), textBox),
    make("div", { className: "live-row" }, button(words.take, takeSentence), truth),
    make("div", { className: "live-dials" }, make("label", {}, make("span", { textContent: words.scale }), scaleSlider, scaleSaid), rankLabel),
    make("div", { className: "live-scroll" }, table),
    heading,
    make("div", { className: "live-row" }, make("label", {}, make("span", { textContent: words.whose }), whose), measure, wordsStep),
    wordsSaid, wordsList,
  ); // prettier-ignore

  one(".without-script", box, HTMLElement).remove();
  box.append(choices, make("div", { className: "live-row" }, loadButton, progress, progressSaid), status, work);
  showSizes();
})();
