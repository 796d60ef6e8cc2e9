// The test sentences: one axis a sentence with a labelled dot an adapter, a choice by who is wrong, a search. It formats no
// number. Without it the page lists the first sentences.
(() => {
  "use strict";
  const SVG = "http://www.w3.org/2000/svg";
  const AT_ONCE = 24;
  const [AXIS, ROW, GAP] = [9, 25, 8]; // pixels: from the top to the axis, a row of labels, between two labels
  const one = (selector, within = document) => within.querySelector(selector);
  const make = (tag, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };
  const draw = (tag, attributes) => {
    const element = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    return element;
  };
  const fill = (text, values) => text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
  const fold = (text) => text.normalize("NFKC").toLowerCase();

  const box = one(".sentences");
  if (!box) return;
  const { adapters, labels, sentences, words } = JSON.parse(one("script", box).textContent);
  const rows = sentences.map(([id, text, label, guesses, lang]) => {
    const wrong = guesses.map(([, prediction]) => prediction !== label);
    return { id, text, label, guesses, lang, wrong, nWrong: wrong.filter(Boolean).length, folded: fold(text) };
  });

  // Of two labels the axis leads from one to the other, and the right one is one of its ends. Of more, it is the probability
  // of the right label.
  const two = labels.length === 2;
  const endOf = (row) => (two ? row.label : 1);

  // What is chosen lives in the address, so that it can be sent to somebody; what is usual is left out.
  const chosen = { wrong: "", right: "", text: "" };
  const isChoice = (value) => ["", "*some", "*each"].includes(value) || adapters.some(({ id }) => id === value);

  function readAddress() {
    const given = new URLSearchParams(location.hash.slice(1));
    for (const name of ["wrong", "right"]) chosen[name] = isChoice(given.get(name)) ? given.get(name) : "";
    chosen.text = given.get("text") ?? "";
  }

  function writeAddress() {
    const kept = new URLSearchParams(Object.entries(chosen).filter(([, value]) => value));
    history.replaceState(history.state, "", kept.size ? `#${kept}` : location.pathname + location.search);
  }

  function fits(row) {
    const counts = { wrong: row.nWrong, right: row.guesses.length - row.nWrong };
    const of = (name) => {
      if (chosen[name] === "*some") return counts[name] > 0;
      if (chosen[name] === "*each") return counts[name] === row.guesses.length;
      return !chosen[name] || row.wrong[adapters.findIndex(({ id }) => id === chosen[name])] === (name === "wrong");
    };
    const wanted = fold(chosen.text).split(/\s+/).filter(Boolean);
    return of("wrong") && of("right") && wanted.every((word) => row.folded.includes(word) || String(row.id) === word);
  }

  const dotOf = ({ adapter, wrong }, cx, cy) =>
    draw("circle", { cx, cy, r: 4.5, stroke: adapter.color, fill: wrong ? "#fff" : adapter.color });

  // A card: the sentence, the names of the axis's ends, the axis, and below it the labels in the order of their dots.
  function makeCard(row) {
    const makeEnd = (i) => {
      const end = make("span", { textContent: two ? labels[i] : i ? `${labels[row.label]} 100%` : "0%" });
      if (i === endOf(row)) end.append(make("strong", { textContent: ` ${words.truth}` }));
      return end;
    };
    const text = make("span", { className: "sentence", lang: row.lang, textContent: row.text });
    const about = make("span", { className: "test-row", textContent: fill(words.row, { row: row.id }) });
    const list = make("ul");
    list.setAttribute("aria-label", fill(words.guesses, { label: labels[two ? 1 : row.label] }));
    const guesses = row.guesses.map(([shown, prediction], i) => {
      const said = two || !row.wrong[i] ? "" : ` ${labels[prediction]}`;
      return { shown: shown + said, wrong: row.wrong[i], adapter: adapters[i], at: Number.parseFloat(shown) / 100 };
    });
    guesses.sort((a, b) => a.at - b.at);
    for (const guess of guesses) {
      const { name, link } = guess.adapter;
      const dot = draw("svg", { viewBox: "0 0 12 12", "aria-hidden": "true" });
      dot.append(dotOf(guess, 6, 6));
      const parts = [dot, " ", make("span", { className: "sentence-name", textContent: name }), ` ${guess.shown}`];
      if (guess.wrong) {
        const cross = make("span", { className: "wrong", textContent: "✗" });
        cross.setAttribute("role", "img");
        cross.setAttribute("aria-label", words.mistake);
        parts.push(" ", cross);
      }
      guess.label = make("li", {}, make(link ? "a" : "span", link ? { href: link } : {}, ...parts));
      list.append(guess.label);
    }
    const picture = draw("svg", { "aria-hidden": "true" });
    const axis = make("div", { className: "sentence-axis" }, picture, list);
    const line = make("div", { className: "sentence-ends" }, makeEnd(0), makeEnd(1));
    const card = make("li", { className: "sentence-card" }, make("p", {}, text, " ", about), line, axis);
    return { row, card, axis, picture, guesses };
  }

  // Put labels of these widths beside each other, each as near to its dot as the others let it be; return their left ends.
  function spread(widths, wanted, room) {
    const lefts = [];
    wanted.forEach((middle, i) => {
      const after = i ? lefts[i - 1] + widths[i - 1] + GAP : 0;
      lefts.push(Math.max(after, middle - widths[i] / 2));
    });
    let end = room;
    for (let i = lefts.length - 1; i >= 0; i -= 1) {
      lefts[i] = Math.max(0, Math.min(lefts[i], end - widths[i]));
      end = lefts[i] - GAP;
    }
    return lefts;
  }

  function layOut({ row, axis, picture, guesses }) {
    const room = axis.clientWidth;
    if (!room) return; // not laid out yet: the observer calls again
    const widths = guesses.map(({ label }) => label.offsetWidth);
    const places = guesses.map(({ at }) => 6 + at * (room - 12));
    const total = widths.reduce((sum, width) => sum + width + GAP, -GAP);
    // As many rows as the labels need, each label in turn in the next: none is far from its dot.
    let n = Math.ceil(total / room);
    const rowsOf = (count) => Array.from({ length: count }, (_, r) => guesses.map((_, i) => i).filter((i) => i % count === r));
    const wide = (members) => members.reduce((sum, i) => sum + widths[i] + GAP, -GAP) > room;
    while (n < guesses.length && rowsOf(n).some(wide)) n += 1;
    const height = AXIS + 22 + n * ROW;
    axis.style.height = `${height}px`;
    for (const [name, value] of Object.entries({ width: room, height, viewBox: `0 0 ${room} ${height}` })) picture.setAttribute(name, value);
    picture.replaceChildren(
      draw("rect", { x: endOf(row) ? room / 2 : 0, y: 0, width: room / 2, height: 2 * AXIS, class: "sentence-side" }),
      draw("path", { d: `M0,${AXIS}H${room}M${room / 2},1V${2 * AXIS - 1}`, class: "sentence-line" }),
    );
    const dots = [];
    rowsOf(n).forEach((members, r) => {
      const lefts = spread(members.map((i) => widths[i]), members.map((i) => places[i]), room);
      const top = AXIS + 20 + r * ROW;
      members.forEach((i, place) => {
        const { label, adapter } = guesses[i];
        label.style.left = `${lefts[place]}px`;
        label.style.top = `${top}px`;
        const x = places[i];
        const middle = lefts[place] + 9; // the dot before the name
        picture.append(draw("path", { d: `M${x},${AXIS}L${middle},${top + 3}`, stroke: adapter.color, class: "sentence-lead" }));
        dots.push(dotOf(guesses[i], x, AXIS));
      });
    });
    picture.append(...dots);
  }

  const list = make("ol", { className: "sentence-cards" });
  const status = make("p", { className: "sentences-status" });
  status.setAttribute("role", "status");
  const more = make("button", { type: "button", className: "sentences-more" });
  let found = [];
  let cards = [];

  function append() {
    const fresh = found.slice(cards.length, cards.length + AT_ONCE).map(makeCard);
    cards.push(...fresh);
    list.append(...fresh.map(({ card }) => card));
    fresh.forEach(layOut);
    const left = Math.min(AT_ONCE, found.length - cards.length);
    more.hidden = left === 0;
    more.textContent = fill(words.more, { n: left });
    status.textContent = found.length ? fill(words.status, { all: rows.length, found: found.length, shown: cards.length }) : words.nothing;
    return fresh;
  }

  function show() {
    found = rows.filter(fits);
    cards = [];
    list.replaceChildren();
    append();
    for (const field of form.elements) if (field.name) field.value = chosen[field.name];
  }

  function change(changes) {
    Object.assign(chosen, changes);
    writeAddress();
    show();
  }

  function choice(name, label) {
    const select = make("select", { name });
    const options = [["", words.any], ["*some", words.some], ["*each", words.each], ...adapters.map(({ id, name: text }) => [id, text])];
    select.append(...options.map(([value, textContent]) => make("option", { value, textContent })));
    select.addEventListener("change", () => change({ [name]: select.value }));
    return make("label", {}, make("span", { textContent: label }), select);
  }

  const search = make("input", { type: "search", name: "text", autocomplete: "off", spellcheck: false });
  search.addEventListener("input", () => change({ text: search.value }));
  const clear = make("button", { type: "button", textContent: words.clear });
  clear.addEventListener("click", () => change({ wrong: "", right: "", text: "" }));
  const form = make(
    "form", { className: "sentences-tools" }, choice("wrong", words.wrong), choice("right", words.right),
    make("label", { className: "sentences-search" }, make("span", { textContent: words.search }), search), clear,
  );
  form.setAttribute("aria-label", words.tools);
  form.addEventListener("submit", (event) => event.preventDefault());
  more.addEventListener("click", () => {
    const [first] = append();
    one("a", first.card)?.focus(); // the button may be gone
  });
  one(".without-script", box).remove();
  one(".sentence-list")?.remove();
  box.append(form, status, list, more);
  addEventListener("hashchange", () => {
    if (location.hash && !location.hash.includes("=")) return; // to a heading of the page
    readAddress();
    show();
  });
  readAddress();
  show();
  let width = list.clientWidth;
  new ResizeObserver(() => {
    if (list.clientWidth === width) return;
    width = list.clientWidth;
    cards.forEach(layOut);
  }).observe(list);
})();
