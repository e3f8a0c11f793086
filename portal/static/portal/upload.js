/* Uploads with progress: each chosen or dropped file is sent as a raw body. Without this script the form sends it itself.

   [data-upload]: a form (its action takes the files) or an element with the address in data-upload; inside it a .drop with the file
   control and a list [data-upload-list]. data-upload-select names a select that gets the new file, data-upload-kinds what it takes. */
(() => {
  "use strict";

  const units = ["B", "kB", "MB", "GB", "TB"];
  const inBytes = (bytes) => {
    let step = 0;
    while (bytes >= 999.5 && step < units.length - 1) { bytes /= 1000; step += 1; }
    return `${step && bytes < 100 ? bytes.toPrecision(3) : Math.round(bytes)} ${units[step]}`;
  };

  const element = (name, className, text = "") => {
    const made = document.createElement(name);
    made.className = className;
    made.textContent = text;
    return made;
  };

  const icon = (name) => {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("class", "i");
    svg.setAttribute("aria-hidden", "true");
    const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
    use.setAttribute("href", `#i-${name}`);
    svg.append(use);
    return svg;
  };

  // One line of the list of files: icon, name, what happens, a button that stops it, a bar.
  const uploadRow = (list, file) => {
    const row = document.createElement("li");
    const mark = element("span", "mm");
    mark.append(icon("wait"));
    const name = element("span", "mono", file.name);
    const note = element("span", "xs mm num", `0 of ${inBytes(file.size)}`);
    const stop = element("button", "btn quiet tiny", "Cancel");
    stop.type = "button";
    const bar = document.createElement("progress");
    bar.max = 100;
    bar.value = 0;
    bar.setAttribute("aria-label", `Upload of ${file.name}`);
    row.append(mark, name, note, stop, bar);
    list.append(row);
    const finish = (state, text) => {
      mark.className = state === "ok" ? "t-ok" : state === "off" ? "mm" : "t-bad";
      mark.replaceChildren(icon(state));
      note.textContent = text;
      stop.remove();
      bar.remove();
      row.setAttribute("role", state === "bad" ? "alert" : "listitem");
    };
    return { row, note, stop, bar, finish };
  };

  const upload = (area, file) => new Promise((resolve) => {
    const list = area.querySelector("[data-upload-list]");
    const { row, note, stop, bar, finish } = uploadRow(list, file);
    const request = new XMLHttpRequest();
    const start = performance.now();
    const url = area.dataset.upload || area.action;
    request.open("POST", `${url}?name=${encodeURIComponent(file.name)}`);
    request.responseType = "json";
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.setRequestHeader("X-CSRFToken", JSON.parse(document.body.getAttribute("hx-headers"))["X-CSRFToken"]);
    stop.addEventListener("click", () => request.abort());
    request.upload.addEventListener("progress", (event) => {
      const rate = event.loaded / ((performance.now() - start) / 1000);
      bar.value = 100 * event.loaded / event.total;
      note.textContent = event.loaded < event.total
        ? `${inBytes(event.loaded)} of ${inBytes(event.total)}, ${inBytes(rate)}/s`
        : "Reading what it is";
    });
    request.addEventListener("load", () => {
      const answer = request.response ?? {};
      if (request.status === 201 || request.status === 200) {
        finish("ok", `${inBytes(answer.size)}, ${answer.kind_title ?? answer.kind}`);
        const link = document.createElement("a");
        link.href = answer.url;
        link.className = "mono";
        link.textContent = answer.name;
        row.children[1].replaceWith(link);
        resolve(answer);
        return;
      }
      const reason = answer.error ? `${answer.error.replace(/\.?$/, ".")} ${answer.hint ?? ""}` : `The server answered with status ${request.status}.`;
      finish("bad", "refused");
      row.append(element("p", "msg", reason));
      resolve(null);
    });
    request.addEventListener("error", () => { finish("bad", "The connection broke. Try again."); resolve(null); });
    request.addEventListener("abort", () => { finish("off", "Cancelled"); resolve(null); });
    request.send(file);
  });

  const choose = (area, answer) => {
    const select = document.querySelector(area.dataset.uploadSelect);
    const kinds = (area.dataset.uploadKinds ?? "").split(" ").filter(Boolean);
    if (kinds.length && !kinds.includes(answer.kind)) {
      area.querySelector("[data-upload-list]").lastElementChild
        .append(element("p", "msg", `${answer.kind_title ?? answer.kind} does not fit here. It is kept in your library.`));
      return;
    }
    const known = [...select.options].find((option) => option.value === answer.id);
    const option = known ?? new Option(`${answer.name}, ${answer.kind_title ?? answer.kind}`, answer.id);
    if (!known) select.add(option, select.multiple ? 0 : 1);
    if (select.multiple) option.selected = true;
    else select.value = answer.id;
    select.dispatchEvent(new Event("change", { bubbles: true }));
    select.closest(".field")?.classList.remove("err");
    document.getElementById("say").textContent = `${answer.name} is uploaded and chosen`;
  };

  const uploadAll = async (area, files) => {
    const stored = [];
    for (const file of files) {
      const answer = await upload(area, file);
      if (!answer) continue;
      stored.push(answer);
      if (area.dataset.uploadSelect) choose(area, answer);
    }
    // A form of its own leads on: to the page of a single file, or to the list with all of them.
    if (area.tagName !== "FORM" || stored.length < files.length) return;
    if (stored.length === 1) location.assign(stored[0].url);
    else if ("uploadReload" in area.dataset) location.reload();
  };

  document.addEventListener("change", (event) => {
    const area = event.target.matches("input[type=file]") && event.target.closest("[data-upload]");
    if (!area) return;
    const files = [...event.target.files];
    event.target.value = "";  // sent by the script, so not with the form as well
    uploadAll(area, files);
  });

  for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
    document.addEventListener(kind, (event) => {
      const drop = event.target.closest?.("[data-upload] .drop");
      if (!drop) return;
      event.preventDefault();
      drop.classList.toggle("over", kind === "dragenter" || kind === "dragover");
      if (kind === "drop") uploadAll(drop.closest("[data-upload]"), [...event.dataTransfer.files]);
    });
  }
})();
