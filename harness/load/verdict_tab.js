// The tab itself is Locust's (extended_tabs). While it is the chosen one, our page stands in it, in a shadow tree: no
// style of one page reaches the other. It is the first tab, and the one that is open at the beginning.
(() => {
  const host = document.createElement("section");
  host.setAttribute("aria-label", "Verdict");
  const root = host.attachShadow({ mode: "open" });
  const main = document.createElement("div");
  root.append(main);
  const stop = earwitnessPage(main);
  addEventListener("pagehide", stop);
  let opened = new URLSearchParams(location.search).has("tab");

  function place() {
    // The platform under test was named when the process started.
    for (const field of document.querySelectorAll('input[name="host"]')) {
      const box = field.closest(".MuiFormControl-root");
      if (box) box.hidden = true, box.style.display = "none";
    }
    const tabs = document.querySelector('[role="tablist"]');
    if (!tabs) return;
    const ours = [...tabs.querySelectorAll('[role="tab"]')].find(tab => tab.textContent.trim() === "Verdict");
    if (!ours) return;
    ours.style.order = -1;
    if (!opened) { opened = true; ours.click(); }
    const panel = tabs.closest(".MuiContainer-root");
    if (panel && ours.getAttribute("aria-selected") === "true") {
      if (host.parentElement !== panel) panel.append(host);
      main.dataset.theme = dark(getComputedStyle(document.body).color) ? "dark" : "light";
    } else {
      host.remove();
    }
  }

  // Locust's theme is its own switch: light text means a dark page.
  const dark = color => (color.match(/\d+/g) || [0]).slice(0, 3).reduce((sum, n) => sum + Number(n), 0) > 382;

  new MutationObserver(place).observe(document.getElementById("root"), {
    attributes: true, attributeFilter: ["aria-selected", "class"], childList: true, subtree: true,
  });
  place();
})();
