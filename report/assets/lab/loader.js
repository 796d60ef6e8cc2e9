// Open the training lab: at once on its own page, and in an explanation when the reader asks for it. The rest of the
// scripts, and the data, are loaded only then.
(() => {
  "use strict";
  const here = /** @type {HTMLScriptElement} */ (document.currentScript).src;
  const address = (/** @type {string} */ path) => new URL(path, here).href;

  /** @type {Map<string, Promise<void>>} */
  const loaded = new Map();
  /** @param {string} path from this script */
  function load(path) {
    const known = loaded.get(path);
    if (known) return known;
    const made = new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = address(path);
      script.onload = () => resolve(undefined);
      script.onerror = () => {
        loaded.delete(path);
        script.remove();
        reject(new Error(path));
      };
      document.head.append(script);
    });
    loaded.set(path, made);
    return made;
  }

  /** @param {HTMLElement} box */
  async function open(box) {
    for (const name of ["numbers", "training", "charts", "lab"]) await load(`${name}.js`);
    await load(`../../scripts/lab-${box.dataset.language}.js`);
    globalThis.openLab(box, { load, settings: globalThis.labSettings });
  }

  for (const box of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll(".lab"))) {
    const style = document.createElement("link");
    style.rel = "stylesheet";
    style.href = address("lab.css");
    if (!document.querySelector(`link[href="${style.href}"]`)) document.head.append(style);
    box.hidden = false;
    if (!box.dataset.knob) {
      open(box);
      continue;
    }
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = box.dataset.open ?? "";
    button.addEventListener("click", () => {
      button.disabled = true;
      open(box).catch(() => {
        button.disabled = false;
      });
    });
    box.append(button);
  }
})();
