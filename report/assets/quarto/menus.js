// Quarto's menus for readers who use no mouse or no screen: a name for each, and a way to open its sections by key.
(() => {
  "use strict";
  const words = document.documentElement.lang.startsWith("zh")
    ? { bar: "網站", here: "目前位置", pages: "網頁", contents: "目錄", turn: "前後頁" }
    : { bar: "Site", here: "Where this page is", pages: "Pages", contents: "Contents", turn: "Neighbouring pages" };

  function mend() {
    const name = (selector, label) => document.querySelector(selector)?.setAttribute("aria-label", label);
    name("nav.navbar", words.bar);
    name("nav.quarto-secondary-nav", words.here);
    name("nav#quarto-sidebar", words.pages);
    name("nav#TOC", words.contents);
    name("nav.page-navigation", words.turn);
    // Links without an address that are called a navigation each: they are buttons.
    for (const button of document.querySelectorAll('a[role="navigation"]')) {
      button.setAttribute("role", "button");
      button.tabIndex = 0;
      button.addEventListener("keydown", (event) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        button.click();
      });
    }
    document.querySelector('button[role="menu"]')?.removeAttribute("role");
  }

  if (document.readyState === "loading") addEventListener("DOMContentLoaded", mend);
  else mend();
})();
