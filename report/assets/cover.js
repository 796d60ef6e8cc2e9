// Show the cover in one language: the one that the address names, that was chosen before, or that the browser prefers.
// Without this script both are there, one below the other.
(() => {
  "use strict";
  const KEY = "adapterbook-language";
  const known = (name) => (/^(zh|en)/.test(name ?? "") ? name.slice(0, 2) : null);
  const remembered = () => {
    try { return localStorage.getItem(KEY); } catch { return null; }  // a browser may forbid it
  };
  const preferred = () => (navigator.languages ?? []).map(known).find(Boolean);

  function show(language) {
    document.documentElement.dataset.cover = language;
    for (const link of document.querySelectorAll(".cover-languages a")) {
      if (link.hash === `#${language}`) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
  }

  const current = () => known(location.hash.slice(1)) ?? known(remembered()) ?? preferred() ?? "en";
  show(current());
  addEventListener("DOMContentLoaded", () => {
    show(current());
    for (const link of document.querySelectorAll(".cover-languages a")) {
      link.addEventListener("click", (event) => {
        event.preventDefault();
        const language = link.hash.slice(1);
        try { localStorage.setItem(KEY, language); } catch { /* then the choice holds for this visit */ }
        history.replaceState(null, "", link.hash);
        show(language);
      });
    }
  });
})();
