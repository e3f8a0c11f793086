/* The review queue's keys: j and k go on and back, a approves, r rejects, e goes into the text. */
(() => {
  "use strict";

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select")) return;
    const target = document.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
    if (!target) return;
    event.preventDefault();
    const field = target.dataset.focus && document.querySelector(target.dataset.focus);
    if (field) field.focus();
    else target.click();
  });

  for (const button of document.querySelectorAll("[data-focus]")) {
    button.hidden = false;
    button.addEventListener("click", () => document.querySelector(button.dataset.focus).focus());
  }
})();
