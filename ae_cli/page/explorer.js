// The page: one current point in the latent space, and everything that is shown of it.

import { offerAxes, offerColors } from "./choices.js";
import { Cloud } from "./cloud.js";
import { Decoder } from "./decoder.js";
import { clamp, element, make, write } from "./dom.js";
import { showHeat, showImage, showPixels, shrink } from "./pictures.js";
import { LatentSpace } from "./space.js";
import { Way } from "./way.js";

const NEIGHBOURS = 8;
const ON_CARD = 6; // neighbours in the card beside the pointer
const WORST = 10; // rows of the table, and how many more each time
const MOST_FOUND = 24; // results of a search that are shown as pictures
const STEPS = 200; // of a slider, from its lowest to its highest value

function on(id, event, action) {
  element(id).addEventListener(event, action);
}

class Explorer {
  /** @param {LatentSpace} space With its thumbnails. */
  constructor(space) {
    this.space = space;
    this.decoder = new Decoder(space.layers, space.activation);
    this.found = []; // by a search
    this.cloud = new Cloud(element("cloud"), space, {
      hover: (i, x, y) => this.showCard(i, x, y),
      pick: (i) => this.go(i),
      walk: (z) => this.walk(z),
    });
    element("title").textContent = space.title;
    element("summary").textContent = space.summary;
    this.followTheme();
    offerAxes(space, this.cloud);
    offerColors(space, this.cloud);
    this.way = new Way(
      space.ends.map((i) => ({ z: space.latent(i), i })),
      (canvas, z) => showPixels(canvas, this.decoder.decode(z), space.shape),
      (z, i) => this.moveTo(z, i),
    );
    this.cloud.ends = this.way.ends;
    const count = Math.min(NEIGHBOURS, space.count);
    this.neighbours = Array.from({ length: count }, () => this.thumbnailButton());
    element("neighbours").append(...this.neighbours);
    this.makeSliders();
    this.listWorst();
    this.connect();
    this.go(space.byError[Math.floor(space.count / 2)]); // neither the best nor the worst
  }

  // Where one is

  /** Go to image `i`. */
  go(i) {
    this.way.stop();
    this.moveTo(this.space.latent(i), i);
  }

  /** Go to any point of the latent space, as far as the sliders reach. */
  walk(z) {
    this.way.stop();
    this.moveTo(z.map((value, k) => clamp(value, ...this.ranges[k])));
  }

  /** Go to the next image (1) or the previous one (-1) that can be seen. */
  step(direction) {
    const { count } = this.space;
    let i = this.nearest;
    do i = (i + direction + count) % count;
    while (!this.cloud.visible[i] && i !== this.nearest);
    this.go(i);
  }

  /** Show what is at `z`: image `i`, or something between the images. */
  moveTo(z, i = -1) {
    this.z = Float32Array.from(z);
    this.i = i;
    this.cloud.current = this.z;
    this.cloud.redraw();
    this.request ??= requestAnimationFrame(() => this.show());
  }

  /** Bring the page up to date with the current point. */
  show() {
    this.request = null;
    const { space, i, z } = this;
    const around = space.neighbours(z, NEIGHBOURS, i);
    const onImage = i >= 0;
    const image = onImage ? i : around[0].i;
    this.nearest = image;
    const where = onImage ? this.describe(i) : "Between the images";
    if (element("where").textContent !== where) element("where").textContent = where; // is read out
    const names = ["original", "decoded", "heat"];
    // Between the images, no error is shown.
    this.drawTriptych(names.slice(0, onImage ? 3 : 2).map(element), image, z);
    element("here").classList.toggle("between", !onImage);
    const captions = onImage
      ? ["Original", "Reconstruction", `Squared error, 0 to ${write(space.heatMost)}`]
      : [`Nearest image: ${space.caption(image)}`, "Decoded here", ""];
    names.forEach((name, n) => {
      element(`${name}-caption`).textContent = captions[n];
    });
    this.showFacts(image, onImage ? null : around[0].distance);
    this.showNeighbours(around);
    this.sliders.forEach(({ slider, value }, k) => {
      slider.value = z[k];
      value.textContent = write(z[k]);
    });
  }

  /** What to call image `i`: its name, or where it is and its label. */
  describe(i) {
    const { space } = this;
    return space.names || !space.labels ? space.titleOf(i) : `${space.titleOf(i)}: ${space.label(i)}`;
  }

  /** Draw an image, what the decoder makes of a latent, and on a third canvas where they differ. */
  drawTriptych([original, decoded, heat], i, z) {
    const { space } = this;
    const image = space.original(i);
    const pixels = this.decoder.decode(z);
    showImage(original, image);
    showPixels(decoded, pixels, space.shape);
    if (!heat) return;
    const small = shrink(pixels, space.shape, image.width, image.height);
    showHeat(heat, image, small, space.shape[0], space.heatColors, space.heatMost);
  }

  /** Say what is known of image `i`: the current one, or one at a distance from the current point. */
  showFacts(i, distance) {
    const { space } = this;
    const rank = `rank ${space.rank[i] + 1} of ${space.count}, 1 is the worst`;
    const facts =
      distance === null
        ? [["error", `${write(space.errors[i])}, ${rank}`]]
        : [["distance to it", write(distance)]];
    if (space.names) facts.push(["name", space.names[i]]);
    if (space.labels) facts.push(["label", space.label(i)]);
    facts.push(["index", `${space.index[i]}, ${space.split(i)}`]);
    element("facts").replaceChildren(
      ...facts.flatMap((fact) => fact.map((textContent, n) => make(["dt", "dd"][n], { textContent }))),
    );
  }

  // Small pictures

  /** A canvas with the thumbnail of image `i`. */
  thumbnail(i) {
    const canvas = make("canvas", { className: "thumbnail" });
    showImage(canvas, this.space.original(i));
    return canvas;
  }

  /** A button that goes to the image that `label` says. */
  thumbnailButton() {
    const canvas = make("canvas", { className: "thumbnail" });
    const button = make("button", { type: "button" }, canvas, make("span"));
    button.addEventListener("click", () => this.go(Number(button.dataset.image)));
    return button;
  }

  /** Make a button stand for image `i`. */
  label(button, i, note = "") {
    const { space } = this;
    const [canvas, caption] = button.children;
    showImage(canvas, space.original(i));
    caption.textContent = space.caption(i);
    button.title = [this.describe(i), note].filter(Boolean).join(", ");
    button.dataset.image = i;
  }

  showNeighbours(around) {
    // The buttons stay: they would slip away under a finger, or from a key, while one walks.
    this.neighbours.forEach((button, n) => {
      button.hidden = n >= around.length;
      if (!button.hidden) this.label(button, around[n].i, `distance ${write(around[n].distance)}`);
    });
  }

  /** Show image `i` beside the pointer; nothing for -1. */
  showCard(i, x, y) {
    const card = element("card");
    card.hidden = i < 0;
    if (i < 0) return;
    const { space } = this;
    if (this.onCard !== i) {
      this.onCard = i;
      const three = ["Original", "Reconstruction", "Error"].map((text) =>
        make("figure", {}, make("canvas"), make("figcaption", { textContent: text })),
      );
      this.drawTriptych(three.map((figure) => figure.firstChild), i, space.latent(i));
      const around = space.neighbours(space.latent(i), ON_CARD, i);
      const error = `error ${write(space.errors[i])}`;
      const label = space.names && space.labels ? [`label ${space.label(i)}`] : [];
      card.replaceChildren(
        make("p", { className: "name", textContent: this.describe(i) }),
        make("div", { className: "triptych" }, ...three),
        make("p", { textContent: [...label, error, space.split(i), "nearest:"].join(" · ") }),
        make("div", { className: "thumbnails" }, ...around.map((other) => this.thumbnail(other.i))),
      );
    }
    // Beside the pointer, on the side where there is room.
    const { width, height } = this.cloud;
    const left = x + 20 + card.offsetWidth > width ? x - 20 - card.offsetWidth : x + 20;
    const top = Math.min(y - 20, height - card.offsetHeight - 8);
    card.style.left = `${Math.max(4, left)}px`;
    card.style.top = `${Math.max(4, top)}px`;
  }

  listWorst() {
    const { space } = this;
    const label = space.labels ? ["Label"] : [];
    const columns = ["Original", "Drawn", space.names ? "Name" : "Image", ...label, "Error"];
    const head = columns.map((textContent) => make("th", { scope: "col", textContent }));
    element("worst").tHead.replaceChildren(make("tr", {}, ...head));
    this.listMore();
  }

  listMore() {
    const { space } = this;
    const body = element("worst").tBodies[0];
    const more = space.byError.subarray(body.rows.length, body.rows.length + WORST);
    body.append(
      ...Array.from(more, (i) => {
        const drawn = make("canvas", { className: "thumbnail" });
        showPixels(drawn, this.decoder.decode(space.latent(i)), space.shape);
        const title = space.titleOf(i);
        const name = make("button", { type: "button", className: "link", textContent: title, title });
        const cells = [this.thumbnail(i), drawn, name, space.label(i), write(space.errors[i])];
        const there = cells.filter((cell) => cell !== null);
        const row = make("tr", {}, ...there.map((cell) => make("td", {}, cell)));
        row.dataset.image = i;
        row.addEventListener("click", () => this.go(i));
        return row;
      }),
    );
    element("more").hidden = body.rows.length >= space.count;
  }

  /** Make the current point an end of the way: 0 for A, 1 for B. */
  setEnd(n) {
    this.way.setEnd(n, this.z, this.i);
    this.cloud.redraw();
  }

  makeSliders() {
    const { space } = this;
    this.ranges = Array.from({ length: space.dimensions }, (_, k) => {
      const [low, high] = space.range(k);
      const room = 0.15 * (high - low) || 1;
      return [low - room, high + room];
    });
    this.sliders = Array.from({ length: space.dimensions }, (_, k) => {
      const [min, max] = this.ranges[k];
      const slider = make("input", { type: "range", min, max, step: "any", id: `z${k + 1}` });
      const value = make("output", { htmlFor: `z${k + 1}` });
      slider.addEventListener("input", () => {
        const z = this.z.slice();
        z[k] = Number(slider.value);
        this.walk(z);
      });
      // With any step, the keys would go too far.
      slider.addEventListener("keydown", (event) => {
        const direction = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 }[event.key];
        if (!direction) return;
        event.preventDefault();
        slider.value = Number(slider.value) + (direction * (max - min)) / STEPS;
        slider.dispatchEvent(new Event("input"));
      });
      const label = make("label", { htmlFor: slider.id, textContent: `z${k + 1}` });
      element("sliders").append(label, slider, value);
      return { slider, value };
    });
  }

  // Everything that is pressed or typed

  connect() {
    on("set-a", "click", () => this.setEnd(0));
    on("set-b", "click", () => this.setEnd(1));
    on("more", "click", () => this.listMore());
    on("turn", "click", () => this.setWalking(false));
    on("walk", "click", () => this.setWalking(true));
    on("download", "click", () => this.download());
    on("help-button", "click", () => {
      element("help").showModal();
    });
    on("query", "input", () => this.search());
    on("search", "submit", (event) => {
      event.preventDefault();
      if (this.found.length) this.go(this.found[0]);
    });
    element("query").placeholder = `Search ${this.space.names ? "name, " : ""}index or label`;

    on("stage", "pointerdown", () => (element("hint").hidden = true));
    document.addEventListener("keydown", (event) => this.press(event));
  }

  /** Be light or dark as the browser is, until a person says otherwise. */
  followTheme() {
    const dark = window.matchMedia("(prefers-color-scheme: dark)");
    const setTheme = (theme) => {
      document.documentElement.dataset.theme = theme;
      element("theme").textContent = theme === "dark" ? "Light" : "Dark";
      this.cloud.makeAtlas();
    };
    const follow = () => setTheme(dark.matches ? "dark" : "light");
    on("theme", "click", () => setTheme(element("theme").textContent.toLowerCase()));
    dark.addEventListener("change", follow);
    follow();
  }

  press(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.target.matches("input[type=search], select");
    if (event.key === "Escape" && event.target.id === "query") {
      event.target.value = "";
      this.search();
      element("cloud").focus();
    }
    if (typing || (event.key === " " && event.target.matches("button"))) return;
    const actions = {
      n: () => this.step(1),
      p: () => this.step(-1),
      a: () => this.setEnd(0),
      b: () => this.setEnd(1),
      " ": () => this.way.toggle(),
      "/": () => element("query").focus(),
    };
    const action = actions[event.key.toLowerCase()];
    if (!action) return;
    event.preventDefault();
    action();
  }

  setWalking(walking) {
    this.cloud.walking = walking;
    element("turn").setAttribute("aria-pressed", String(!walking));
    element("walk").setAttribute("aria-pressed", String(walking));
    element("cloud").classList.toggle("walking", walking);
  }

  search() {
    const text = element("query").value;
    this.found = this.space.search(text);
    const shown = this.found.slice(0, MOST_FOUND);
    this.cloud.marked = shown;
    this.cloud.redraw();
    const results = element("results");
    results.hidden = !text.trim();
    const count = this.found.length;
    const which = count > MOST_FOUND ? `, the first ${MOST_FOUND}:` : "";
    const note = count
      ? `${count} found${which}`
      : `No image among these ${this.space.count} has that name, index or label.`;
    const buttons = shown.map((i) => {
      const button = this.thumbnailButton();
      this.label(button, i);
      return button;
    });
    results.replaceChildren(
      make("p", { textContent: note }),
      make("div", { className: "thumbnails" }, ...buttons),
    );
  }

  download() {
    const address = URL.createObjectURL(new Blob([this.space.toCsv()], { type: "text/csv" }));
    make("a", { href: address, download: "latents.csv" }).click();
    setTimeout(() => URL.revokeObjectURL(address), 60_000);
  }
}

const latentSpace = new LatentSpace(JSON.parse(element("data").textContent));
export let explorer = null;
latentSpace.readThumbnails().then(() => {
  element("data").remove();
  explorer = new Explorer(latentSpace);
});
