// The page of images sorted by score, with a threshold that the user moves.

import { quote, shorten } from "./csv.js";
import { abbreviate, element, make, save, write } from "./dom.js";
import { Histogram } from "./histogram.js";
import { showImage } from "./pictures.js";
import { Sheet } from "./sheet.js";
import { followTheme } from "./theme.js";

const LONGEST = 11; // characters of a name below a thumbnail
const FILTERS = { all: () => true, above: (isAbove) => isAbove, below: (isAbove) => !isAbove };

class Anomalies {
  /** @param {object} data As written by ae_cli/page/anomalies.py; its sheets have been read. */
  constructor(data) {
    Object.assign(this, data);
    this.filter = "all";
    element("title").textContent = this.title;
    element("summary").textContent = this.summary;
    element("overlay-caption").textContent = this.overlayCaption;
    this.tiles = this.images.map((image, i) => this.makeTile(image, i));
    element("grid").append(...this.tiles);
    const scores = this.images.map((image) => image.score);
    this.histogram = new Histogram(element("histogram"), scores, this.threshold);
    this.connect();
    this.start = this.threshold;
    this.setThreshold(this.start);
    followTheme(() => this.histogram.draw(this.threshold));
  }

  makeTile(image, i) {
    const canvas = make("canvas", { className: "thumbnail" });
    const captions = [image.label, abbreviate(image.name, LONGEST)].filter((text) => text !== null);
    const tile = make(
      "button",
      { type: "button", title: [image.name, image.label].filter(Boolean).join(", ") },
      canvas,
      ...captions.map((textContent) => make("span", { textContent })),
      make("span", { textContent: write(image.score) }),
    );
    showImage(canvas, this.sheets.original.image(i));
    for (const event of ["pointerenter", "focus"]) tile.addEventListener(event, () => this.drawTile(i, true));
    for (const event of ["pointerleave", "blur"]) tile.addEventListener(event, () => this.drawTile(i));
    tile.addEventListener("click", () => this.open(i));
    return tile;
  }

  /** Draw a tile's image, or its overlay if it is pointed at or all overlays are to be seen. */
  drawTile(i, pointed = false) {
    const sheet = pointed || element("overlays").checked ? "overlay" : "original";
    showImage(this.tiles[i].firstChild, this.sheets[sheet].image(i));
  }

  connect() {
    const { histogram } = this;
    const slider = element("slider");
    slider.addEventListener("input", () => this.setThreshold(histogram.scoreAt(Number(slider.value)), slider));
    const field = element("threshold");
    field.addEventListener("input", () => {
      if (field.value && Number.isFinite(Number(field.value))) this.setThreshold(Number(field.value), field);
    });
    histogram.canvas.addEventListener("pointerdown", (event) => {
      const box = histogram.canvas.getBoundingClientRect();
      this.setThreshold(histogram.scoreAt((event.clientX - box.left) / box.width));
    });
    element("reset").addEventListener("click", () => this.setThreshold(this.start));
    for (const name of Object.keys(FILTERS)) {
      element(name).addEventListener("click", () => {
        this.filter = name;
        this.showTiles();
      });
    }
    element("overlays").addEventListener("change", () => this.tiles.forEach((_, i) => this.drawTile(i)));
    element("query").addEventListener("input", () => this.showTiles());
    element("query").placeholder = "Search name or label";
    element("download").addEventListener("click", () => save("anomalies.csv", this.toCsv()));
    element("previous").addEventListener("click", () => this.step(-1));
    element("next").addEventListener("click", () => this.step(1));
    element("image").addEventListener("keydown", (event) => {
      const direction = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (direction) this.step(direction);
    });
    window.addEventListener("resize", () => histogram.draw(this.threshold));
  }

  // The threshold

  /** Move the threshold; `origin` is the input that it comes from, which keeps what was typed. */
  setThreshold(threshold, origin = null) {
    this.threshold = threshold;
    const field = element("threshold");
    if (origin !== field) field.value = shorten(Number(threshold.toPrecision(4)));
    if (origin !== field) this.threshold = threshold === this.start ? threshold : Number(field.value);
    const slider = element("slider");
    if (origin !== slider) slider.value = this.histogram.shareOf(this.threshold);
    slider.setAttribute("aria-valuetext", field.value);
    element("count").textContent = this.describeCount();
    element("command").hidden = this.threshold === this.start; // which the command has anyway
    element("command").replaceChildren(
      "To use it: ",
      make("code", { textContent: `ae anomalies --threshold ${field.value}` }),
    );
    this.histogram.draw(this.threshold);
    this.showTiles();
  }

  isAbove(image) {
    return image.score > this.threshold;
  }

  /** Say how many images are above the threshold, and how many of these are known to be anomalies. */
  describeCount() {
    const above = this.images.filter((image) => this.isAbove(image));
    // Of the images that are not in the page, none has a higher score than those that are.
    const atLeast = above.length === this.images.length && this.count > above.length ? "at least " : "";
    const are = above.length === 1 ? "is" : "are";
    const parts = [`${atLeast}${above.length} of ${this.count} images ${are} above it`];
    if (this.known) {
      const counts = [true, false].map((kind) => above.filter((image) => image.anomalous === kind).length);
      parts.push(
        `${counts[0]} of ${this.known.anomalous} anomalous and ${counts[1]} of ${this.known.normal} normal ones`,
      );
    }
    const usual = this.heldOut.filter((score) => score > this.threshold).length;
    // Their scores may be given as quantiles, which lie between two of them.
    const ofHeldOut = Math.ceil((usual * this.heldOutImages) / this.heldOut.length);
    parts.push(`about ${ofHeldOut} of the ${this.heldOutImages} held-out images`);
    return parts.join("; ");
  }

  // The images

  showTiles() {
    const wanted = element("query").value.trim().toLowerCase();
    this.shown = [];
    this.images.forEach((image, i) => {
      const isAbove = this.isAbove(image);
      const texts = [image.name, image.label ?? ""].map((text) => text.toLowerCase());
      const isFound = texts.some((text) => text.includes(wanted));
      const isShown = isFound && FILTERS[this.filter](isAbove);
      this.tiles[i].hidden = !isShown;
      this.tiles[i].classList.toggle("above", isAbove);
      if (isShown) this.shown.push(i);
    });
    for (const name of Object.keys(FILTERS)) {
      element(name).setAttribute("aria-pressed", String(name === this.filter));
    }
    element("nothing").hidden = this.shown.length > 0;
  }

  /** Show an image in a dialog. */
  open(i) {
    this.opened = i;
    const image = this.images[i];
    element("name").textContent = image.name;
    for (const [name, sheet] of Object.entries(this.sheets)) showImage(element(name), sheet.image(i));
    const facts = [
      ["score", `${write(image.score)}, ${this.isAbove(image) ? "above" : "not above"} the threshold`],
      ["error", write(image.error)],
      ["rank", `${i + 1} of ${this.count}`],
      ["split", `${image.split}, index ${image.index}`],
    ];
    if (image.label !== null) facts.push(["label", image.label]);
    element("facts").replaceChildren(
      ...facts.flatMap((fact) => fact.map((textContent, n) => make(["dt", "dd"][n], { textContent }))),
    );
    if (!element("image").open) element("image").showModal();
  }

  /** Open the next image that is shown (1), or the previous one (-1). */
  step(direction) {
    const place = this.shown.indexOf(this.opened) + direction;
    if (this.shown[place] !== undefined) this.open(this.shown[place]);
  }

  /** The table of the images above the threshold as CSV, with the columns of `ae anomalies`. */
  toCsv() {
    const has = (name) => this.images.some((image) => image[name] !== null);
    const names = ["index", "split", ...(this.named ? ["name"] : []), ...(has("label") ? ["label"] : []), "error", "score"];
    const lines = [[...names, "threshold", "is_anomaly"].join(",")];
    for (const image of this.images.filter((one) => this.isAbove(one))) {
      const cells = names.map((name) => {
        const value = image[name];
        return typeof value === "number" ? shorten(value) : quote(value);
      });
      lines.push([...cells, shorten(this.threshold), "true"].join(","));
    }
    return `${lines.join("\n")}\n`;
  }
}

const data = JSON.parse(element("data").textContent);
for (const [name, sheet] of Object.entries(data.sheets)) data.sheets[name] = new Sheet(sheet);
export let anomalies = null;
Promise.all(Object.values(data.sheets).map((sheet) => sheet.read())).then(() => {
  element("data").remove();
  anomalies = new Anomalies(data);
});
