// Quarto's menus for readers who use no mouse or no screen: a name for each, and a way to open its sections by key. And
// the way to the other language, which leads to the place that is being read.
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

  // Both languages give sections, figures and tables the same ids.
  function languageSwitch() {
    const link = document.querySelector(".language-switch a");
    if (!link) return;
    const page = link.getAttribute("href");
    const places = [...document.querySelectorAll("main :is(section, .quarto-float)[id]")];
    const update = () => {
      const above = (place) => place.offsetParent && place.getBoundingClientRect().top < innerHeight / 4;
      const here = scrollY > 0 && places.filter(above).pop();
      link.setAttribute("href", here ? `${page}#${encodeURIComponent(here.id)}` : page);
    };
    // Also a link that is copied, or opened in another tab, leads there.
    for (const kind of ["click", "auxclick", "contextmenu", "dragstart"]) link.addEventListener(kind, update);
  }

  function start() {
    mend();
    languageSwitch();
  }

  if (document.readyState === "loading") addEventListener("DOMContentLoaded", start);
  else start();
})();
