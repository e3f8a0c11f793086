/* Conversations: puts the answer in place as it is written, opens cited passages, stops on Esc. The pages work without it. */
(() => {
  "use strict";

  const part = (article, name) => article.querySelector(`:scope > [data-part="${name}"]`);

  /* Put new HTML in place; folds that the reader has opened or closed stay as they are, and so does the keyboard focus. */
  const fill = (target, html) => {
    if (!target) return;
    const folds = [...target.querySelectorAll("details")].map((fold) => fold.open);
    const focused = target.contains(document.activeElement) ? document.activeElement.id : "";
    target.innerHTML = html;
    target.querySelectorAll("details").forEach((fold, index) => {
      if (index in folds) fold.open = folds[index];
    });
    if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
    window.htmx?.process(target);
  };

  /* The finished turn takes the place of the one that was written; what the reader has opened stays open. */
  const replace = (article, html) => {
    const made = document.createElement("template");
    made.innerHTML = html.trim();
    const next = made.content.firstElementChild;
    for (const fold of article.querySelectorAll("details[id]")) {
      const same = next.querySelector(`#${CSS.escape(fold.id)}`);
      if (same) same.open = fold.open;
    }
    const stopping = article.querySelector("[data-stop]")?.contains(document.activeElement);
    article.replaceWith(next);
    window.htmx?.process(next);
    if (stopping) document.getElementById("question")?.focus({ preventScroll: true });
  };

  const listen = (article) => {
    if (article.dataset.listening) return;
    article.dataset.listening = "yes";
    const source = new EventSource(article.dataset.events);
    const on = (name, take) =>
      source.addEventListener(name, (event) => {
        if (document.contains(article)) take(event.data);
        else source.close();
      });
    on("steps", (html) => fill(part(article, "steps"), html));
    on("passages", (html) => fill(part(article, "passages"), html));
    on("text", (html) => fill(part(article, "text"), html));
    on("state", (html) => fill(part(article, "state"), html));
    on("done", (html) => {
      source.close();
      replace(article, html);
    });
    on("gone", () => {
      source.close();
      article.remove();
    });
    window.addEventListener("pagehide", () => source.close(), { once: true });
  };

  const start = () => document.querySelectorAll("article[data-events]").forEach(listen);
  document.addEventListener("htmx:afterSettle", start);
  // A page that comes back from the browser's memory has lost its streams.
  window.addEventListener("pageshow", (event) => {
    if (event.persisted) window.location.reload();
  });
  start();

  /* ---------- cited passages ---------- */

  const reveal = (id) => {
    const target = id && document.getElementById(id);
    if (target?.tagName === "DETAILS") target.open = true;
  };
  window.addEventListener("hashchange", () => reveal(window.location.hash.slice(1)));
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a.cite");
    if (link) reveal(link.hash.slice(1)); // the browser then goes there
  });
  reveal(window.location.hash.slice(1));

  /* ---------- keys and links ---------- */

  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || event.isComposing) return;
    const form = document.querySelector("form[data-stop]");
    if (form) form.requestSubmit();
  });

  document.addEventListener("click", async (event) => {
    const link = event.target.closest("a[data-copy-link]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    if (!navigator.clipboard) return; // plain http from another machine: the link opens, its address can be copied there
    event.preventDefault();
    const word = link.dataset.word ?? link.textContent;
    link.dataset.word = word;
    try {
      await navigator.clipboard.writeText(link.href);
      link.textContent = "Copied";
    } catch {
      window.location.assign(link.href);
    }
    setTimeout(() => { link.textContent = word; }, 2000);
  });
})();
