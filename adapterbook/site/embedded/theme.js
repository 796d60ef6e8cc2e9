// Set the theme before the page is painted, so that no wrong theme flashes: the reader's choice, else the system's.
(() => {
  "use strict";
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const chosen = () => {
    try {
      return localStorage.getItem("theme");
    } catch {
      return null; // storage is disabled: the system decides
    }
  };
  const apply = () => {
    const choice = chosen();
    const theme = choice === "dark" || choice === "light" ? choice : system.matches ? "dark" : "light";
    root.dataset.theme = theme;
  };
  apply();
  root.classList.add("scripted");
  system.addEventListener("change", apply);
  addEventListener("storage", apply);
})();
