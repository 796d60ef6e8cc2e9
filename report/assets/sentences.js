// The table of test sentences: a bar in each cell, columns that sort, a choice of sentences. The table is whole without.
(() => {
  "use strict";
  const SVG = "http://www.w3.org/2000/svg";
  const one = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const make = (tag, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };
  const fill = (text, values) => text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);

  const box = one(".sentences");
  const table = one(".sentence-table table");
  if (!box || !table) return;
  const words = JSON.parse(one("script", box).textContent);
  const heads = all("thead th", table);
  const body = one("tbody", table);
  const names = heads.map((head) => head.textContent.trim());
  const rows = all("tr", body).map((element) => {
    const cells = all("td", element);
    const guesses = cells.map((cell) => one(".guess", cell));
    // A sentence stands by its number in the test set, its label by name, all else by the number shown.
    const keys = cells.map((cell, i) => {
      if (i === 1) return cell.textContent;
      const shown = i === 0 ? one(".test-row .n", cell) : (one(".guess .n", cell) ?? cell);
      return Number.parseFloat(shown.textContent.replaceAll(",", ""));
    });
    const made = guesses.filter(Boolean);
    const wrong = guesses.map((guess) => Boolean(guess?.classList.contains("wrong")));
    const kinds = new Set(made.map((guess) => guess.getAttribute("label") ?? guess.dataset.label ?? guess.classList.contains("positive")));
    return { element, guesses, keys, wrong, divided: kinds.size > 1, nWrong: wrong.filter(Boolean).length, n: made.length };
  });

  // Of two labels from one half to the right for the second, to the left for the first; of more, from the left.
  function addBar(guess, percent) {
    const middle = guess.classList.contains("one-of-many") ? 0 : 50;
    const svg = document.createElementNS(SVG, "svg");
    for (const [name, value] of Object.entries({ viewBox: "0 0 100 10", class: "sentence-bar", preserveAspectRatio: "none", "aria-hidden": "true" })) {
      svg.setAttribute(name, value);
    }
    const parts = [
      [0, 4, 100, 2, "sentence-bar-scale"],
      [Math.min(middle, percent), 0, Math.abs(percent - middle), 10, "sentence-bar-value"],
      [Math.max(0, middle - 1), 0, 2, 10, "sentence-bar-middle"],
    ];
    for (const [x, y, width, height, name] of parts) {
      const rect = document.createElementNS(SVG, "rect");
      for (const [key, value] of Object.entries({ x, y, width, height, class: name })) rect.setAttribute(key, value);
      svg.append(rect);
    }
    guess.append(svg);
  }

  const filters = [
    ["all", words.all, () => true],
    ["divided", words.divided, (row) => row.divided],
    ["wrong", words.wrong, (row) => row.nWrong > 0],
    ["all-wrong", words.all_wrong, (row) => row.n > 0 && row.nWrong === row.n],
    ...names.flatMap((name, i) =>
      rows.some((row) => row.guesses[i]) ? [[`wrong-${i}`, fill(words.wrong_by, { name }), (row) => row.wrong[i]]] : [],
    ),
  ];

  const collator = new Intl.Collator(document.documentElement.lang);
  const compare = (a, b) => (typeof a === "string" ? collator.compare(a, b) : a - b);
  // Sentences of many labels stand label by label.
  const many = rows.some((row) => row.guesses.some((guess) => guess?.classList.contains("one-of-many")));
  let sorted = many ? { column: 1, down: false } : { column: heads.length - 1, down: true };
  let chosen = filters[0];

  function show() {
    const { column, down } = sorted;
    const order = [...rows].sort((a, b) => (down ? -1 : 1) * compare(a.keys[column], b.keys[column]) || a.keys[0] - b.keys[0]);
    body.append(...order.map((row) => row.element));
    let shown = 0;
    for (const row of rows) {
      row.element.hidden = !chosen[2](row);
      shown += Number(!row.element.hidden);
    }
    heads.forEach((head, i) => {
      if (i === column) head.setAttribute("aria-sort", down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
    status.textContent = fill(words.status, { shown, all: rows.length });
  }

  for (const row of rows) {
    row.guesses.forEach((guess, i) => {
      if (guess) addBar(guess, row.keys[i]);
    });
  }
  heads.forEach((head, column) => {
    const button = make("button", { type: "button", className: "sort" }, ...head.childNodes);
    button.addEventListener("click", () => {
      // Numbers are first asked for from above, the order of the test set and the labels from the beginning.
      sorted = { column, down: sorted.column === column ? !sorted.down : column > 1 };
      show();
    });
    head.append(button);
  });
  const select = make("select", {}, ...filters.map(([value, textContent]) => make("option", { value, textContent })));
  select.addEventListener("change", () => {
    chosen = filters.find(([value]) => value === select.value);
    show();
  });
  const status = make("p", { className: "sentences-status" });
  status.setAttribute("role", "status");
  one(".without-script", box).remove();
  box.append(make("label", {}, make("span", { textContent: words.show }), select), status);
  show();
})();
