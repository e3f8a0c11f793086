/* Uploads with progress: each chosen or dropped file is sent as a raw body; without this script the form posts one file. */
(() => {
  "use strict";

  const megabytes = (bytes) => `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;

  const cookie = (suffix) => {
    const found = document.cookie.split("; ").find((entry) => entry.split("=")[0].startsWith(suffix));
    return found ? decodeURIComponent(found.split("=").slice(1).join("=")) : "";
  };

  const element = (tag, className, text) => {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (text) made.textContent = text;
    return made;
  };

  /** Send one file; the row shows how far it is, and Cancel stops it. */
  const send = (form, file) =>
    new Promise((resolve) => {
      const row = element("li");
      const state = element("span", "mm", "…");
      const name = element("span", "mono", file.name);
      const figures = element("span", "xs mm num", megabytes(file.size));
      const cancel = element("button", "btn quiet tiny", "Cancel");
      const bar = element("progress");
      cancel.type = "button";
      bar.max = 100;
      bar.value = 0;
      bar.setAttribute("aria-label", `Upload of ${file.name}`);
      row.append(state, name, figures, cancel, bar);
      form.querySelector("[data-upload-list]").append(row);

      const request = new XMLHttpRequest();
      const started = performance.now();
      const end = (mark, className, text, result) => {
        state.textContent = mark;
        state.className = className;
        figures.textContent = text;
        cancel.remove();
        bar.remove();
        resolve(result);
      };
      cancel.addEventListener("click", () => request.abort());
      request.upload.addEventListener("progress", (event) => {
        bar.value = (100 * event.loaded) / event.total;
        const rate = event.loaded / ((performance.now() - started) / 1000);
        figures.textContent = `${megabytes(event.loaded)} of ${megabytes(event.total)}, ${megabytes(rate)}/s`;
      });
      request.addEventListener("load", () => {
        let answer = {};
        try {
          answer = JSON.parse(request.responseText);
        } catch {
          answer = { error: `The server answered ${request.status}.`, hint: "Reload the page and try again." };
        }
        if (request.status === 201) {
          const link = element("a", "mono", answer.name);
          link.href = answer.url;
          name.replaceWith(link);
          end("✓", "t-ok", `${answer.kind_title}, ${megabytes(answer.size)}`, answer);
        } else {
          end("✗", "t-bad", `${answer.error} ${answer.hint}`, null);
        }
      });
      request.addEventListener("error", () => end("✗", "t-bad", "The connection broke. Try again.", null));
      request.addEventListener("abort", () => end("–", "mm", "Cancelled", null));
      request.open("POST", `${form.action}?name=${encodeURIComponent(file.name)}`);
      request.setRequestHeader("Content-Type", "application/octet-stream");
      request.setRequestHeader("X-CSRFToken", form.querySelector("[name=csrfmiddlewaretoken]")?.value || cookie("ml4ep-csrf"));
      request.send(file);
    });

  const sendAll = async (form, files) => {
    const stored = [];
    for (const file of files) {
      const result = await send(form, file);
      if (result) stored.push(result);
    }
    form.dispatchEvent(new CustomEvent("uploaded", { bubbles: true, detail: stored }));
    const sentAll = stored.length === files.length;
    if (sentAll && stored.length === 1) window.location.assign(stored[0].url);
    else if (stored.length && form.hasAttribute("data-upload-reload") && sentAll) window.location.reload();
  };

  for (const form of document.querySelectorAll("form[data-upload]")) {
    const input = form.querySelector("input[type=file]");
    const zone = form.querySelector(".drop");
    input.addEventListener("change", () => {
      const files = [...input.files];
      input.value = "";
      sendAll(form, files);
    });
    for (const name of ["dragover", "dragleave", "drop"]) {
      zone.addEventListener(name, (event) => {
        event.preventDefault();
        zone.classList.toggle("over", name === "dragover");
        if (name === "drop") sendAll(form, [...event.dataTransfer.files]);
      });
    }
  }
})();
