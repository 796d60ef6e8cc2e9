// Quarto's search has one index for all pages. A page gets the part of its language, without the name of the other
// language that stands at the top of each page. The notebooks repeat each other, so the page that lists them stands for
// them. The cover, which has no language, gets all.
(() => {
  "use strict";
  const load = window.fetch.bind(window);

  function belongs({ href }) {
    const language = document.documentElement.lang.slice(0, 2);
    return href.startsWith(`report/${language}/`) && (!href.includes("/notebooks/") || href.includes("/notebooks/index.html"));
  }

  window.fetch = async (what, ...options) => {
    const answer = await load(what, ...options);
    const path = new URL(what instanceof Request ? what.url : what, location).pathname;
    const other = document.querySelector(".language-switch")?.textContent.trim();
    if (!path.endsWith("/search.json") || !answer.ok || !other) return answer;
    const entries = (await answer.json()).filter(belongs);
    for (const entry of entries) {
      const text = entry.text.trimStart();
      if (text.startsWith(other)) entry.text = text.slice(other.length).trimStart();
    }
    return new Response(JSON.stringify(entries), { headers: { "content-type": "application/json" } });
  };
})();
