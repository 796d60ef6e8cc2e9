// The tables and the download of the curve explorer: the data of the charts, and the runs with their results.
(() => {
  "use strict";
  const make = (tag, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };

  // A part that unfolds, with a table in a frame that scrolls by keyboard too. It is filled when it is opened.
  function foldedTable(title, className, fillIn) {
    const table = make("table");
    const frame = make("div", { className: `explorer-table table-frame ${className}`, tabIndex: 0 }, table);
    frame.setAttribute("role", "group");
    frame.setAttribute("aria-label", title);
    const element = make("details", { className: "explorer-fold" }, make("summary", { textContent: title }), frame);
    const update = () => element.open && fillIn(table);
    element.addEventListener("toggle", update);
    return { element, update };
  }

  const headOf = (texts) => {
    const row = make("tr");
    for (const text of texts) row.append(make("th", { scope: "col" }, text));
    return make("thead", {}, row);
  };

  const linked = (href, text) => (href ? make("a", { href, textContent: text }) : text);

  // Rows of texts; the first cell of each is a link.
  function fillTable(table, head, rows) {
    const body = rows.map(({ href, cells: [first, ...others] }) =>
      make("tr", {}, make("td", {}, linked(href, first)), ...others.map((text) => make("td", { textContent: text }))),
    );
    table.replaceChildren(headOf(head), make("tbody", {}, ...body));
  }

  // The runs, one row an adapter and variant: whether it is shown, the settings that differ, the results. A click on a
  // head sorts by its column, a second one turns the order round.
  function fillRuns(table, { runs, results, words, adapters, variants, isShown, toggle, sorted, sort }) {
    const collator = new Intl.Collator(document.documentElement.lang, { numeric: true });
    const keyOf = (row) => {
      if (sorted.column === 0) return adapters.get(row.adapter).name;
      if (sorted.column === 1) return variants.get(row.variant).title;
      if (sorted.column < 2 + runs.settings.length) return row.settings[sorted.column - 2];
      return row.results[results[sorted.column - 2 - runs.settings.length]]?.[0] ?? null;
    };
    const asNumber = (key) => (key === "" || key === null ? NaN : Number(key));
    const compare = (a, b) => {
      const [x, y] = [keyOf(a), keyOf(b)];
      if (x === null || y === null) return Number(x === null) - Number(y === null); // without a result: at the end
      const numbers = [asNumber(x), asNumber(y)];
      const order = numbers.some(Number.isNaN) ? collator.compare(x, y) : numbers[0] - numbers[1];
      return sorted.down ? -order : order;
    };
    const names = [words.adapter, words.variant, ...runs.settings, ...results.map((name) => words[name])];
    const heads = names.map((text, column) => {
      const button = make("button", { type: "button", className: "sort", textContent: text });
      button.addEventListener("click", () => sort(column));
      return button;
    });
    const head = headOf([words.shown, ...heads]);
    if (sorted.column !== null) {
      head.querySelectorAll("th")[sorted.column + 1].setAttribute("aria-sort", sorted.down ? "descending" : "ascending");
    }
    const rows = sorted.column === null ? runs.rows : [...runs.rows].sort(compare);
    const body = rows.map((row) => {
      const [name, title] = [adapters.get(row.adapter).name, variants.get(row.variant).title];
      const box = make("input", { type: "checkbox", checked: isShown(row) });
      box.setAttribute("aria-label", `${name} · ${title}`);
      box.addEventListener("change", () => toggle(row, box.checked));
      const texts = [...row.settings, ...results.map((result) => row.results[result]?.[1] ?? "–")];
      const cells = [box, linked(row.link, name), title, ...texts].map((content) => make("td", {}, content));
      return make("tr", {}, ...cells);
    });
    const focused = heads.findIndex((_, i) => table.contains(document.activeElement) && i === sorted.column);
    table.replaceChildren(head, make("tbody", {}, ...body));
    if (focused >= 0) heads[focused].focus();
  }

  // Numbers as the records have them. A text that a spreadsheet would take for a formula begins with an apostrophe.
  function csvCell(value) {
    if (typeof value !== "string") return String(value ?? "");
    const plain = value.replace(/[\u2066-\u2069]/g, ""); // what keeps a text's direction its own on the page
    const text = /^[=+\-@\t\r]/.test(plain) ? `'${plain}` : plain;
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  }

  function download(name, rows) {
    // Excel takes a file for UTF-8 only where it begins with this mark.
    const text = "\ufeff" + rows.map((cells) => cells.map(csvCell).join(",")).join("\r\n") + "\r\n";
    const address = URL.createObjectURL(new Blob([text], { type: "text/csv;charset=utf-8" }));
    make("a", { href: address, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(address), 10_000);
  }

  window.explorerTables = { make, foldedTable, fillTable, fillRuns, download };
})();
