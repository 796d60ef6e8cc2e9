// Point the links of the page for lost visitors to the front page: the nearest folder above this address that has the
// site's icon. The site may lie below any prefix, and this address at any depth.
(() => {
  "use strict";
  const { icon } = document.currentScript.dataset;
  const parent = (folder) => folder.replace(/[^/]*\/$/, "");
  const look = (folder) => {
    const probe = new Image();
    probe.onload = () => {
      for (const link of document.querySelectorAll("a")) link.href = `${folder}index.html`;
    };
    probe.onerror = () => {
      if (folder !== "/") look(parent(folder));
    };
    probe.src = folder + icon;
  };
  if (icon) look(location.pathname.replace(/[^/]*$/, ""));
})();
