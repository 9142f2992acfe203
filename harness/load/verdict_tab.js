// The tab itself is Locust's (extended_tabs); while it is the chosen one, our page stands in it.
(() => {
  const frame = document.createElement("iframe");
  frame.src = "verdict";
  frame.title = "Verdict";
  frame.style.cssText = "border: 0; width: 100%; height: 80vh; color-scheme: auto";

  function place() {
    const tabs = document.querySelector('[role="tablist"]');
    const chosen = tabs && tabs.querySelector('[aria-selected="true"]');
    const panel = tabs && tabs.closest(".MuiContainer-root");
    if (panel && chosen.textContent.trim() === "Verdict") {
      if (frame.parentElement !== panel) panel.append(frame);
    } else {
      frame.remove();
    }
  }

  new MutationObserver(place).observe(document.getElementById("root"), {
    attributes: true, attributeFilter: ["aria-selected"], childList: true, subtree: true,
  });
})();
