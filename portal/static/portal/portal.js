/* ML4EP Portal. Every page works without this file; it adds copying, keys, dropping files and a theme that shows at once. */
(() => {
  "use strict";

  const say = (text) => {
    const region = document.getElementById("say");
    if (region) region.textContent = text;
  };

  /* ---------- copy ---------- */

  // data-copy="code" copies the frame's code; data-copy="#id" copies that element's text or value.
  const textToCopy = (button) => {
    const target = button.dataset.copy;
    if (target.startsWith("#")) {
      const element = document.querySelector(target);
      return element ? (element.value ?? element.textContent) : "";
    }
    const parts = button.closest(".code").querySelectorAll(":scope > pre > code, :scope > .rest > pre > code");
    return [...parts].map((part) => part.textContent).join("\n");
  };

  const copyOldWay = (text) => {
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "sr";
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  };

  const copy = async (button) => {
    const text = textToCopy(button);
    let done = true;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      done = copyOldWay(text); // no clipboard on plain http from another machine
      button.focus({ preventScroll: true });
    }
    const label = button.lastChild;
    const word = button.dataset.word ?? label.textContent;
    button.dataset.word = word;
    label.textContent = done ? "Copied" : "Select and copy by hand";
    say(done ? "Copied" : "Could not copy");
    setTimeout(() => { label.textContent = word; }, 2000);
  };

  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-copy]");
    if (button) copy(button);
  });

  /* ---------- keys ---------- */

  const typing = (element) =>
    element.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(element.tagName);

  const go = (key) => {
    const link = document.querySelector(`[data-go="${CSS.escape(key)}"]`);
    if (link) link.click();
    return Boolean(link);
  };

  const openKeys = () => {
    const keys = document.getElementById("keys");
    if (!keys) return;
    keys.open = true;
    keys.querySelector("summary").focus();
    keys.scrollIntoView({ block: "nearest" });
  };

  const search = () => {
    const field = document.querySelector("[data-search]");
    if (field) field.focus();
    else go("a");
  };

  let afterG = 0;

  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      const form = event.target.closest?.("form");
      if (form) {
        event.preventDefault();
        form.requestSubmit();
      }
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
    const second = performance.now() - afterG < 1500;
    afterG = 0;
    let used = true;
    if (second && /^[a-z]$/.test(event.key)) used = go(event.key);
    else if (event.key === "g") afterG = performance.now();
    else if (event.key === "n") used = go("n");
    else if (event.key === "/") search();
    else if (event.key === "?") openKeys();
    else used = false;
    if (used) event.preventDefault();
  });

  // Enter sends in a box that asks for it, Shift+Enter breaks the line.
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.ctrlKey || event.metaKey) return;
    const box = event.target.closest?.("textarea[data-enter-sends]");
    if (!box) return;
    event.preventDefault();
    if (box.value.trim()) box.form.requestSubmit();
  });

  /* ---------- forms ---------- */

  // A form is sent once, however often its button is pressed.
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.matches("[hx-post], [hx-get], [hx-delete], [method=get]")) return;
    if (form.dataset.sent && Date.now() - Number(form.dataset.sent) < 3000) event.preventDefault();
    form.dataset.sent = String(Date.now());
  });

  window.addEventListener("pageshow", () => {
    for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
  });

  // data-fill="#id" puts data-value into that field.
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-fill]");
    if (!button) return;
    const field = document.querySelector(button.dataset.fill);
    field.value = button.dataset.value;
    field.removeAttribute("aria-invalid");
    const row = button.closest(".field");
    row.classList.remove("err");
    row.querySelector(".msg")?.remove();
    field.focus();
  });

  // Checked on leaving a field, in the browser's words; the server checks again.
  document.addEventListener("focusout", (event) => {
    const field = event.target;
    const row = field.closest?.("form[data-check] .field");
    if (!row || !field.name || field.type === "file") return;
    row.querySelector(".msg.live")?.remove();
    if (row.querySelector(".msg")) return;
    const bad = field.value !== "" && !field.checkValidity();
    row.classList.toggle("err", bad);
    field.toggleAttribute("aria-invalid", bad);
    if (!bad) return;
    const message = document.createElement("p");
    message.className = "msg live";
    message.id = `${field.id}-live`;
    message.textContent = field.validationMessage;
    field.closest(".field > div").append(message);
  });

  document.getElementById("summary")?.focus();

  /* ---------- what changes by itself ---------- */

  // A change of state or step is said once; numbers that change every second are not.
  let announced = document.querySelector("[data-announce]")?.dataset.announce ?? "";
  document.addEventListener("htmx:afterSettle", () => {
    const text = document.querySelector("[data-announce]")?.dataset.announce;
    if (text && text !== announced) {
      announced = text;
      say(text);
    }
  });

  // The log keeps showing its end, unless somebody scrolled up to read.
  let following = true;
  const log = document.querySelector("[data-follow]");
  if (log) {
    log.scrollTop = log.scrollHeight;
    log.addEventListener("scroll", () => { following = log.scrollTop + log.clientHeight > log.scrollHeight - 8; });
    document.addEventListener("htmx:oobAfterSwap", () => { if (following) log.scrollTop = log.scrollHeight; });
  }

  for (const lost of ["htmx:sendError", "htmx:responseError"]) {
    document.addEventListener(lost, () => {
      if (document.body.dataset.lost) return;
      document.body.dataset.lost = "yes";
      say("The portal does not answer; what is shown may be old.");
    });
  }
  document.addEventListener("htmx:afterOnLoad", () => { delete document.body.dataset.lost; });

  /* ---------- theme ---------- */

  document.addEventListener("change", (event) => {
    if (!event.target.matches("input[name=theme]")) return;
    const root = document.documentElement;
    if (event.target.value === "auto") delete root.dataset.theme;
    else root.dataset.theme = event.target.value;
  });

  /* ---------- the top bar on a phone ---------- */

  const current = document.querySelector(".top nav [aria-current]");
  if (current) {
    const nav = current.parentElement;
    nav.scrollLeft = Math.max(0, current.offsetLeft - nav.offsetLeft - (nav.clientWidth - current.offsetWidth) / 2);
  }

  /* ---------- sorting ---------- */

  // A button with data-sort in the head of table[data-sortable] sorts by its column: by data-value, numbers as numbers, empty last.
  const valueOf = (row, column) => {
    const cell = row.cells[column];
    const text = (cell.dataset.value ?? cell.textContent).trim();
    return { text, number: text === "" ? NaN : Number(text) };
  };

  const compareCells = (a, b, sign) => {
    if (a.text === "" || b.text === "") return (a.text === "") - (b.text === "");
    if (!Number.isNaN(a.number) && !Number.isNaN(b.number)) return sign * (a.number - b.number);
    return sign * a.text.localeCompare(b.text);
  };

  document.addEventListener("click", (event) => {
    const button = event.target.closest("table[data-sortable] [data-sort]");
    if (!button) return;
    const head = button.closest("th");
    const table = button.closest("table");
    const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    for (const other of table.tHead.querySelectorAll("th[aria-sort]")) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
    const column = head.cellIndex;
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => ({ row, value: valueOf(row, column) }));
    rows.sort((a, b) => compareCells(a.value, b.value, sign));
    body.append(...rows.map((each) => each.row));
    say(`Sorted by ${button.textContent}, ${sign > 0 ? "ascending" : "descending"}`);
  });
})();
