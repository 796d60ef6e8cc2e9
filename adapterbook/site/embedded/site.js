// Theme, menu, search, tabs, copy buttons, table of contents. Every page can be read without this script.
(() => {
  "use strict";
  const root = document.documentElement;
  const one = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const make = (tag, properties = {}) => Object.assign(document.createElement(tag), properties);

  function themeButton() {
    const button = one(".theme-button");
    const show = () => button.setAttribute("aria-pressed", String(root.dataset.theme === "dark"));
    button.addEventListener("click", () => {
      root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
      try {
        localStorage.setItem("theme", root.dataset.theme);
      } catch {
        // storage is disabled: the choice lasts as long as the page
      }
    });
    new MutationObserver(show).observe(root, { attributeFilter: ["data-theme"] });
    show();
  }

  function menuButton() {
    const button = one(".menu-button");
    const sidebar = one("#sidebar");
    if (!button || !sidebar) return;
    const covered = all(".search, main, .site-footer");
    const here = one('[aria-current="page"]', sidebar);
    const set = (open) => {
      sidebar.classList.toggle("open", open);
      button.setAttribute("aria-expanded", String(open));
      // In a narrow window the menu covers what is below it, which must not take the focus.
      for (const part of covered) part.inert = open;
      if (open && here) sidebar.scrollTop = here.offsetTop - 80;
    };
    button.addEventListener("click", () => set(!sidebar.classList.contains("open")));
    addEventListener("keydown", (event) => {
      if (event.key === "Escape" && sidebar.classList.contains("open")) {
        set(false);
        button.focus();
      }
    });
    matchMedia("(min-width: 821px)").addEventListener("change", () => set(false));
    if (here && here.offsetTop > sidebar.clientHeight) sidebar.scrollTop = here.offsetTop - 80;
  }

  // The language switch leads to the section, figure or table that is being read: both languages use the same ids. An
  // id that the other page lacks leads to its top, as without this script.
  function languageSwitch() {
    const link = one("a.language");
    if (!link) return;
    const page = link.getAttribute("href");
    const places = all("main :is(h2, h3, h4, h5, h6, figure, .table-figure)[id]");
    const update = () => {
      const above = (place) => place.offsetParent && place.getBoundingClientRect().top < innerHeight / 4;
      const here = scrollY > 0 && places.filter(above).pop();
      link.setAttribute("href", here ? `${page}#${encodeURIComponent(here.id)}` : page);
    };
    // A link that is copied or opened in another tab leads there too.
    for (const kind of ["click", "auxclick", "contextmenu", "dragstart"]) link.addEventListener(kind, update);
  }

  // Search: every word must occur, as a substring, in a section's title or text. A name that equals the query comes
  // first; pages of a group, such as the notebooks, are one folded result at the end.
  function search() {
    const box = one(".search");
    const input = one("input", box);
    const results = one(".search-results", box);
    const status = one(".search-status", box);
    const list = one("ul", box);
    const fold = (text) => text.normalize("NFKC").toLowerCase();
    const MOST = 20; // results that are listed
    const spaced = (text) => text.replace(/[\s-]+/g, " ").trim();
    // What a section may be called: without its number, before a colon or a bracket, and behind it.
    const namesOf = (title) => {
      const name = title.replace(/^\d+(\.\d+)*\s+/, "");
      return [name, ...name.split(/[:()]/)].map(spaced);
    };
    let sections = null;

    const load = () => {
      load.done ??= new Promise((resolve, reject) => {
        const script = make("script", { src: box.dataset.index, onload: resolve, onerror: reject });
        document.head.append(script);
      }).then(() => {
        sections = window.siteSearchIndex.map(([href, title, heading, text, group]) => {
          const own = fold(heading || title);
          return { href, title, heading, text, group, own, names: namesOf(own), page: fold(title), body: fold(text) };
        });
      });
      return load.done;
    };

    // How well a section answers, and how often it has the words; null if it lacks one.
    const judge = (section, words) => {
      let count = 0;
      for (const word of words) {
        const n = section.body.split(word).length - 1;
        if (!n && !section.own.includes(word) && !section.page.includes(word)) return null;
        count += Math.min(n, 5);
      }
      const query = spaced(words.join(" "));
      const has = (text) => words.every((word) => text.includes(word));
      const tests = [
        section.names[0] === query,
        section.names.includes(query),
        section.names.some((name) => name.startsWith(query)),
        has(section.own),
        has(`${section.page} ${section.own}`),
      ];
      const found = tests.indexOf(true);
      return { section, count, rank: found < 0 ? tests.length : found };
    };

    // The folded text, and the position in the text of each of its letters: an ellipsis folds into three letters.
    const trace = (text) => {
      const places = [];
      let folded = "";
      let at = 0;
      for (const letter of text) {
        const piece = letter < "\u0080" ? letter.toLowerCase() : fold(letter);
        for (let i = 0; i < piece.length; i += 1) places.push(at);
        folded += piece;
        at += letter.length;
      }
      places.push(at);
      return { folded, places };
    };

    // Split the text at the words found and mark them; they stay text nodes, so that nothing in them becomes markup.
    const excerpt = (section, words) => {
      section.traced ??= trace(section.text);
      const { folded, places } = section.traced;
      const firsts = words.map((word) => folded.indexOf(word)).filter((where) => where >= 0);
      const start = firsts.length ? Math.max(0, places[Math.min(...firsts)] - 24) : 0;
      const end = start + 110;
      const element = make("small");
      element.append(start ? "…" : "");
      let from = places.findIndex((place) => place >= start);
      let at = start;
      while (from < folded.length) {
        const next = words
          .map((word) => [folded.indexOf(word, from), word.length])
          .filter(([where]) => where >= 0 && places[where] < end)
          .sort((a, b) => a[0] - b[0] || b[1] - a[1])[0];
        if (!next) break;
        from = next[0] + next[1];
        const [first, last] = [places[next[0]], places[from]];
        element.append(section.text.slice(at, first), make("mark", { textContent: section.text.slice(first, last) }));
        at = last;
      }
      element.append(section.text.slice(at, Math.max(at, end)), end < section.text.length ? "…" : "");
      return element;
    };

    const close = () => {
      results.hidden = true;
    };

    const itemOf = ({ section }, words) => {
      const link = make("a", { href: box.dataset.root + section.href });
      const name = section.heading ? `${section.title} › ${section.heading}` : section.title;
      link.append(make("strong", { textContent: name }), excerpt(section, words));
      const item = make("li");
      item.append(link);
      return item;
    };

    const folded = (group, hits, words, open) => {
      const inside = make("ul");
      inside.append(...hits.slice(0, MOST).map((hit) => itemOf(hit, words)));
      const details = make("details", { open });
      details.append(make("summary", { textContent: `${group} · ${hits.length} ${box.dataset.found}` }), inside);
      const item = make("li");
      item.append(details);
      return item;
    };

    const update = async () => {
      const words = fold(input.value).split(/\s+/).filter(Boolean);
      if (!words.length) return close();
      await load();
      const hits = sections
        .map((section) => judge(section, words))
        .filter(Boolean)
        .sort((a, b) => a.rank - b.rank || b.count - a.count);
      const first = hits.filter((hit) => !hit.section.group);
      const groups = [...new Set(hits.map((hit) => hit.section.group))].filter(Boolean);
      list.replaceChildren(
        ...first.slice(0, MOST).map((hit) => itemOf(hit, words)),
        ...groups.map((group) => {
          const own = hits.filter((hit) => hit.section.group === group);
          return folded(group, own, words, !first.length);
        }),
      );
      status.textContent = hits.length ? `${hits.length} ${box.dataset.found}` : box.dataset.nothing;
      results.hidden = false;
    };

    input.disabled = false;
    input.addEventListener("focus", () => load().catch(() => {}));
    input.addEventListener("input", () => update().catch(close));
    box.addEventListener("keydown", (event) => {
      const links = all("summary, a", list).filter((link) => !link.matches("details:not([open]) a"));
      const at = links.indexOf(document.activeElement);
      if (event.key === "Escape") {
        close();
        input.focus();
      } else if (event.key === "ArrowDown" && links.length && !results.hidden) {
        event.preventDefault();
        links[Math.min(at + 1, links.length - 1)].focus();
      } else if (event.key === "ArrowUp" && at >= 0) {
        event.preventDefault();
        (links[at - 1] ?? input).focus();
      } else if (event.key === "Enter" && event.target === input && links.length && !results.hidden) {
        links[0].click();
      }
    });
    addEventListener("keydown", (event) => {
      const writing = event.target.closest?.("input, textarea, select, [contenteditable]");
      if (event.key !== "/" || writing || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      input.focus();
    });
    addEventListener("click", (event) => {
      if (!box.contains(event.target)) close();
    });
    box.addEventListener("focusout", (event) => {
      if (event.relatedTarget && !box.contains(event.relatedTarget)) close();
    });
  }

  // The ARIA tabs pattern: arrows move, Home and End jump, only the selected tab is in the tab order.
  function tabsets() {
    for (const set of all(".tabset")) {
      const tabs = all(':scope > [role="tablist"] > [role="tab"]', set);
      const panels = all(":scope > .tab-panel", set);
      const choose = (chosen) => {
        tabs.forEach((tab, i) => {
          tab.setAttribute("aria-selected", String(i === chosen));
          tab.tabIndex = i === chosen ? 0 : -1;
          panels[i].classList.toggle("not-chosen", i !== chosen);
        });
      };
      tabs.forEach((tab, i) => {
        tab.addEventListener("click", () => choose(i));
        tab.addEventListener("keydown", (event) => {
          const n = tabs.length;
          const to = { ArrowRight: (i + 1) % n, ArrowLeft: (i + n - 1) % n, Home: 0, End: n - 1 }[event.key];
          if (to === undefined) return;
          event.preventDefault();
          choose(to);
          tabs[to].focus();
        });
      });
      // A link to something inside a panel opens that panel.
      const reveal = () => {
        const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
        const at = panels.findIndex((panel) => panel.contains(target));
        if (target && at >= 0) {
          choose(at);
          target.scrollIntoView();
        }
      };
      addEventListener("hashchange", reveal);
      reveal();
    }
  }

  function copyButtons() {
    const { copy, copied, copyCode } = one("main").dataset;
    for (const block of all("main pre")) {
      const button = make("button", { type: "button", className: "copy-button", textContent: copy });
      button.setAttribute("aria-label", copyCode);
      button.addEventListener("click", async () => {
        const code = one("code", block) ?? block;
        try {
          await navigator.clipboard.writeText(code.textContent);
        } catch {
          // no clipboard: leave the code selected, so that the reader can copy it
          getSelection().selectAllChildren(code);
          return;
        }
        button.textContent = copied;
        setTimeout(() => (button.textContent = copy), 1500);
      });
      const frame = make("div", { className: "code-frame" });
      block.replaceWith(frame);
      frame.append(block, button);
    }
  }

  // A frame that scrolls sideways must take the keyboard's focus.
  function scrollFrames() {
    const frames = all(".equation-body");
    const update = () => {
      for (const frame of frames) {
        if (frame.scrollWidth > frame.clientWidth) frame.tabIndex = 0;
        else frame.removeAttribute("tabindex");
      }
    };
    addEventListener("resize", update);
    update();
  }

  function tableOfContents() {
    const links = all(".toc a");
    const headings = links.map((link) => document.getElementById(decodeURIComponent(link.hash.slice(1))));
    if (!links.length) return;
    let waiting = false;
    const update = () => {
      waiting = false;
      let current = -1;
      headings.forEach((heading, i) => {
        if (heading && heading.getBoundingClientRect().top < 120) current = i;
      });
      links.forEach((link, i) => {
        if (i === current) link.setAttribute("aria-current", "true");
        else link.removeAttribute("aria-current");
      });
    };
    const later = () => {
      if (!waiting) requestAnimationFrame(update);
      waiting = true;
    };
    addEventListener("scroll", later, { passive: true });
    update();
  }

  themeButton();
  menuButton();
  languageSwitch();
  search();
  tabsets();
  copyButtons();
  scrollFrames();
  tableOfContents();
})();
