/* Showers in space: voxels around the axis, drawn on a canvas; turned by dragging or arrow keys, cut by layer, energy and half.

   <section data-showers="address of the events' JSON"> holds [data-showers-views] and [data-showers-note]. Several samples are
   drawn side by side and turn together. Colours are those of the stylesheet's energy scale. */
(() => {
  "use strict";

  const LEVELS = 7;
  const DECADES = 5;          // of energy that the colours span, at most
  const FILLED = 0.84;        // of a voxel's size that is drawn, so that one sees between them
  const ALPHA = [0.35, 0.5, 0.7, 0.85, 1, 1, 1];
  const WIDEST = Math.PI / 4; // a wider angle is drawn in pieces
  const START = { yaw: 0.55, pitch: 0.35, zoom: 1 };
  const SLOW = 45;            // ms of a drawing from which on less is drawn while it turns
  const SVG = "http://www.w3.org/2000/svg";

  const make = (name, attributes = {}, ...children) => {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (value !== null && value !== undefined) element.setAttribute(key, value);
    }
    element.append(...children);
    return element;
  };
  const short = (value) => (value === 0 ? "0" : String(Number(value.toPrecision(3))));
  const count = (value) => String(value).replace(/\B(?=(\d{3})+(?!\d))/g, "\u2009");

  /* ---------- colours ---------- */

  const channels = (text) => (text.match(/[\d.]+/g) || ["128", "128", "128"]).slice(0, 3).map(Number);
  const mixed = (colour, other, share) => colour.map((value, at) => value + (other[at] - value) * share);
  const css = (colour) => `rgb(${colour.map((value) => Math.round(value)).join(" ")})`;

  // The scale's rectangles are painted by the stylesheet, in light and dark; the canvas takes what they have.
  const palette = (scale) => [...scale.querySelectorAll("rect")].map((rect) => {
    const base = channels(getComputedStyle(rect).fill);
    return [css(mixed(base, [255, 255, 255], 0.2)), css(base), css(mixed(base, [0, 0, 0], 0.18))];
  });

  /* ---------- geometry ---------- */

  // Corners of a voxel, or of the pieces of a wide one: [inner, outer] x [first, last angle] x [front, back].
  const pieces = (data, index) => {
    const rings = data.radii.length - 1;
    const ring = index % rings;
    const angle = Math.floor(index / rings) % data.angles;
    const layer = Math.floor(index / rings / data.angles);
    const span = (2 * Math.PI) / data.angles;
    const parts = Math.max(1, Math.ceil(span / WIDEST - 1e-9));
    const shrunk = (low, high) => {
      const middle = (low + high) / 2, half = ((high - low) / 2) * FILLED;
      return [middle - half, middle + half];
    };
    const z = shrunk(data.depths[layer], data.depths[layer + 1]);
    const r = shrunk(data.radii[ring], data.radii[ring + 1]);
    const found = [];
    for (let part = 0; part < parts; part += 1) {
      const from = -Math.PI + span * (angle + part / parts);
      const turn = shrunk(from, from + span / parts);
      const corners = [];
      for (const radius of r) for (const phi of turn) for (const depth of z) {
        corners.push(depth, radius * Math.cos(phi), radius * Math.sin(phi));
      }
      found.push({ corners, layer, up: Math.sin((turn[0] + turn[1]) / 2) > 0 });
    }
    return found;
  };

  // Corners by number: bit 4 outer, bit 2 last angle, bit 1 back; each face's corners go around it, seen from outside.
  const FACES = [
    [0, 1, 3, 2], // inner
    [4, 6, 7, 5], // outer
    [0, 4, 5, 1], // first angle
    [2, 3, 7, 6], // last angle
    [0, 2, 6, 4], // front
    [1, 5, 7, 3], // back
  ];
  const SHADE = [2, 0, 1, 1, 1, 2];

  /* ---------- one section ---------- */

  class View {
    constructor(section, data) {
      this.section = section;
      this.data = data;
      this.view = { ...START };
      this.event = 0;
      this.layers = [0, data.depths.length - 2];
      this.least = 0;
      this.open = false;
      this.fast = false;
      this.slow = false;
      const energies = data.samples.flatMap((sample) => sample.events.flatMap((event) => event.mev));
      this.high = energies.reduce((most, value) => Math.max(most, value), 1e-6);
      const low = energies.reduce((least, value) => (value > 0 ? Math.min(least, value) : least), this.high);
      this.low = Math.max(low, this.high / 10 ** DECADES);
      if (this.low >= this.high) this.low = this.high / 10;
      this.shapes = new Map();
      this.build();
      this.repaint();
    }

    level(value) {
      const share = Math.log(value / this.low) / Math.log(this.high / this.low);
      return Math.min(LEVELS - 1, Math.max(0, Math.floor(share * LEVELS)));
    }

    shape(index) {
      let known = this.shapes.get(index);
      if (!known) this.shapes.set(index, (known = pieces(this.data, index)));
      return known;
    }

    build() {
      const holder = this.section.querySelector("[data-showers-views]");
      const events = this.data.samples[0].events;
      const select = make("select", { "aria-label": "Shower" }, ...events.map((event, at) =>
        make("option", { value: at }, `${at + 1}: ${short(event.energy)} GeV`)));
      this.event = Math.floor((events.length - 1) / 2);
      select.value = String(this.event);
      const last = this.data.depths.length - 2;
      const slider = (label, value, max) => make("input", { type: "range", min: 0, max, value, "aria-label": label });
      const from = slider("First layer", 0, last), to = slider("Last layer", last, last);
      const least = slider("Least energy of a voxel", 0, 100);
      this.layersText = make("output", { class: "num" });
      this.leastText = make("output", { class: "num" });
      const open = make("input", { type: "checkbox" });
      const reset = make("button", { type: "button", class: "btn tiny" }, "Reset view");
      const label = (text, ...controls) => make("label", { class: "pick" }, text, ...controls);
      const controls = make("div", { class: "row sm controls" },
        label("Shower ", select), label("Layers ", from), label("to ", to), this.layersText,
        label("At least ", least), this.leastText, label("", open, " Cut open"), reset);
      holder.before(controls);
      select.addEventListener("change", () => { this.event = Number(select.value); this.repaint(); });
      const cut = () => {
        this.layers = [Math.min(from.value, to.value), Math.max(from.value, to.value)].map(Number);
        this.repaint();
      };
      from.addEventListener("input", cut);
      to.addEventListener("input", cut);
      least.addEventListener("input", () => {
        const share = Number(least.value) / 100;
        this.least = share ? this.low * (this.high / this.low) ** share : 0;
        this.repaint();
      });
      open.addEventListener("change", () => { this.open = open.checked; this.repaint(); });
      reset.addEventListener("click", () => { this.view = { ...START }; this.repaint(); });

      this.panels = this.data.samples.map((sample) => {
        const title = make("h3");
        const canvas = make("canvas", { tabindex: 0, role: "img" });
        holder.append(make("figure", { class: "plot" }, title, canvas));
        this.listen(canvas);
        return { sample, title, canvas };
      });
      if (this.panels.length === 1) holder.classList.replace("half", "one");

      this.scale = document.createElementNS(SVG, "svg");
      for (const [key, value] of Object.entries({ viewBox: "0 0 280 26", class: "ramp", role: "img" })) this.scale.setAttribute(key, value);
      this.scale.setAttribute("aria-label", `Colours from ${short(this.low)} to ${short(this.high)} MeV, by the logarithm`);
      for (let level = 0; level < LEVELS; level += 1) {
        const rect = document.createElementNS(SVG, "rect");
        for (const [key, value] of Object.entries({ x: 40 * level, y: 0, width: 39, height: 9, class: `fl v${level + 1}` })) rect.setAttribute(key, value);
        this.scale.append(rect);
      }
      const text = (x, words, extra) => {
        const element = document.createElementNS(SVG, "text");
        for (const [key, value] of Object.entries({ x, y: 22, class: extra })) element.setAttribute(key, value);
        element.textContent = words;
        this.scale.append(element);
      };
      text(0, short(this.low), "lb");
      text(140, "energy of a voxel [MeV]", "lb a-m");
      text(279, short(this.high), "lb a-e");
      holder.after(this.scale);

      new ResizeObserver(() => this.repaint()).observe(holder);
      new MutationObserver(() => this.repaint()).observe(document.documentElement, { attributeFilter: ["data-theme"] });
      matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.repaint());
    }

    listen(canvas) {
      let at = null;
      canvas.addEventListener("pointerdown", (event) => {
        at = [event.clientX, event.clientY];
        canvas.setPointerCapture(event.pointerId);
      });
      canvas.addEventListener("pointermove", (event) => {
        if (!at) return;
        this.turn((event.clientX - at[0]) * 0.01, (event.clientY - at[1]) * 0.01);
        at = [event.clientX, event.clientY];
      });
      for (const name of ["pointerup", "pointercancel"]) {
        canvas.addEventListener(name, () => {
          at = null;
          this.fast = false;
          this.repaint();
        });
      }
      canvas.addEventListener("dblclick", () => { this.view = { ...START }; this.repaint(); });
      canvas.addEventListener("keydown", (event) => {
        const step = 0.1;
        const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
        const zooms = { "+": 1.15, "=": 1.15, "-": 1 / 1.15 };
        if (moves[event.key]) this.turn(...moves[event.key]);
        else if (zooms[event.key]) this.view.zoom = Math.min(6, Math.max(0.4, this.view.zoom * zooms[event.key]));
        else return;
        event.preventDefault();
        this.fast = false;
        this.repaint();
      });
    }

    turn(yaw, pitch) {
      this.view.yaw += yaw;
      this.view.pitch = Math.min(1.5, Math.max(-1.5, this.view.pitch + pitch));
      this.fast = true;
      this.repaint();
    }

    repaint() {
      if (this.waiting) return;
      this.waiting = requestAnimationFrame(() => {
        this.waiting = 0;
        const begun = performance.now();
        for (const panel of this.panels) this.paint(panel);
        if (!this.fast) this.slow = performance.now() - begun > SLOW;
      });
    }

    paint({ sample, title, canvas }) {
      const event = sample.events[this.event];
      const width = canvas.clientWidth, height = canvas.clientHeight, ratio = Math.min(devicePixelRatio || 1, 2);
      if (!width || !event) return;
      if (canvas.width !== Math.round(width * ratio)) canvas.width = Math.round(width * ratio);
      if (canvas.height !== Math.round(height * ratio)) canvas.height = Math.round(height * ratio);
      const pen = canvas.getContext("2d");
      pen.setTransform(ratio, 0, 0, ratio, 0, 0);
      pen.clearRect(0, 0, width, height);

      const { yaw, pitch, zoom } = this.view;
      const [cy, sy, cp, sp] = [Math.cos(yaw), Math.sin(yaw), Math.cos(pitch), Math.sin(pitch)];
      const depth = this.data.depths[this.data.depths.length - 1], radius = this.data.radii[this.data.radii.length - 1];
      const size = zoom * Math.min(width / (depth + 1.2 * radius), height / (2.6 * radius)) * 0.96;
      // The axis lies from left to right where yaw is 0; yaw turns around the vertical, pitch tips towards the eye.
      const place = (z, x, y) => {
        const along = z - depth / 2;
        const far = along * sy + x * cy;
        return [width / 2 + size * (along * cy - x * sy), height / 2 - size * (y * cp - far * sp), far * cp + y * sp];
      };
      this.frame(pen, place, depth, radius);

      const colours = palette(this.scale);
      const shown = [];
      let drawn = 0, sum = 0;
      const [first, last] = this.layers;
      event.at.forEach((index, at) => {
        const energy = event.mev[at];
        if (energy < this.least) return;
        let seen = false;
        for (const piece of this.shape(index)) {
          if (piece.layer < first || piece.layer > last || (this.open && piece.up)) continue;
          seen = true;
          const c = piece.corners, flat = new Float64Array(24);
          let middle = 0;
          for (let corner = 0; corner < 8; corner += 1) {
            const [px, py, pz] = place(c[3 * corner], c[3 * corner + 1], c[3 * corner + 2]);
            flat[3 * corner] = px;
            flat[3 * corner + 1] = py;
            flat[3 * corner + 2] = pz;
            middle += pz;
          }
          shown.push({ flat, middle, level: this.level(energy) });
        }
        if (seen) {
          drawn += 1;
          sum += energy;
        }
      });
      shown.sort((a, b) => b.middle - a.middle);
      const light = this.fast && this.slow;
      for (const { flat, level } of shown) {
        pen.globalAlpha = ALPHA[level];
        let best = -1, largest = 0;
        for (let face = 0; face < 6; face += 1) {
          const [a, b, c, d] = FACES[face];
          const turned = (flat[3 * c] - flat[3 * a]) * (flat[3 * d + 1] - flat[3 * b + 1])
            - (flat[3 * c + 1] - flat[3 * a + 1]) * (flat[3 * d] - flat[3 * b]);
          if (light) {
            if (Math.abs(turned) > largest) [best, largest] = [face, Math.abs(turned)];
          } else if (turned > 0) {
            this.face(pen, flat, face, colours[level][SHADE[face]]);
          }
        }
        if (light && best >= 0) this.face(pen, flat, best, colours[level][1]);
      }
      pen.globalAlpha = 1;
      const angle = Math.abs(event.theta - 90) < 0.05 ? "" : `, θ ${short(event.theta)}°`;
      title.textContent = `${sample.name}, ${short(event.energy)} GeV${angle}`;
      canvas.dataset.drawn = String(drawn);
      canvas.dataset.view = `${yaw.toFixed(2)} ${pitch.toFixed(2)} ${zoom.toFixed(2)}`;
      canvas.setAttribute("aria-label",
        `Shower of ${sample.name}, ${short(event.energy)} GeV: ${drawn} of ${event.voxels} voxels drawn, which hold ${short(sum)} of ${short(event.total)} MeV. Arrow keys turn it, + and - change its size.`);
      this.layersText.textContent = `${first} to ${last}`;
      this.leastText.textContent = this.least ? `${short(this.least)} MeV` : "any energy";
      const told = this.panels.map((panel) => `${panel.sample.name}: ${count(panel.canvas.dataset.drawn || 0)} voxels`);
      this.section.querySelector("[data-showers-note]").textContent = told.join(", ");
    }

    face(pen, flat, face, colour) {
      const [a, b, c, d] = FACES[face];
      pen.fillStyle = colour;
      pen.beginPath();
      pen.moveTo(flat[3 * a], flat[3 * a + 1]);
      for (const corner of [b, c, d]) pen.lineTo(flat[3 * corner], flat[3 * corner + 1]);
      pen.closePath();
      pen.fill();
    }

    // The cylinder of all voxels, its axis, and an arrow where the particle comes in.
    frame(pen, place, depth, radius) {
      const style = getComputedStyle(this.section.querySelector("[data-showers-note]"));
      pen.strokeStyle = style.color;
      pen.fillStyle = style.color;
      pen.lineWidth = 1;
      pen.globalAlpha = 0.45;
      for (const z of [this.data.depths[this.layers[0]], this.data.depths[this.layers[1] + 1]]) {
        pen.beginPath();
        for (let step = 0; step <= 48; step += 1) {
          const [x, y] = place(z, radius * Math.cos((step * Math.PI) / 24), radius * Math.sin((step * Math.PI) / 24));
          if (step) pen.lineTo(x, y);
          else pen.moveTo(x, y);
        }
        pen.stroke();
      }
      const line = (from, to) => {
        pen.beginPath();
        pen.moveTo(from[0], from[1]);
        pen.lineTo(to[0], to[1]);
        pen.stroke();
      };
      const start = place(-0.45 * radius, 0, 0), tip = place(0, 0, 0);
      line(start, place(depth, 0, 0));
      pen.globalAlpha = 0.9;
      pen.lineWidth = 2;
      line(start, tip);
      const [dx, dy] = [tip[0] - start[0], tip[1] - start[1]], length = Math.hypot(dx, dy) || 1;
      pen.beginPath();
      pen.moveTo(tip[0], tip[1]);
      for (const side of [1, -1]) {
        pen.lineTo(tip[0] - (dx * 8 - side * dy * 4) / length, tip[1] - (dy * 8 + side * dx * 4) / length);
      }
      pen.fill();
      pen.globalAlpha = 1;
    }
  }

  /* ---------- all of a page, those that come later too ---------- */

  const start = async (section) => {
    if (section.dataset.started) return;
    section.dataset.started = "yes";
    const note = section.querySelector("[data-showers-note]");
    note.textContent = "Loading the showers";
    try {
      const answer = await fetch(section.dataset.showers);
      if (!answer.ok) throw new Error(`the portal answered ${answer.status}`);
      new View(section, await answer.json());
    } catch (error) {
      note.textContent = `The showers could not be loaded: ${error.message}. Reload the page to try again.`;
    }
  };
  const all = () => { for (const section of document.querySelectorAll("[data-showers]")) start(section); };
  all();
  document.addEventListener("htmx:afterSettle", all);
  document.addEventListener("htmx:oobAfterSwap", all);
})();
