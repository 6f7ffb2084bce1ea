// The page: a current point in the latent space, and everything that is shown about it.

import { offerAxes, offerColors } from "./choices.js";
import { Cloud } from "./cloud.js";
import { Decoder } from "./decoder.js";
import { element, make, save, write } from "./dom.js";
import { makeThumbnail, showHeat, showImage, showPixels, shrink } from "./pictures.js";
import { Sliders } from "./sliders.js";
import { LatentSpace } from "./space.js";
import { followTheme } from "./theme.js";
import { Way } from "./way.js";
import { WorstTable } from "./worst.js";

const NEIGHBOURS = 5;
const MOST_FOUND = 24; // results of a search that are shown as pictures

function on(id, event, action) {
  element(id).addEventListener(event, action);
}

class Explorer {
  /** @param {LatentSpace} space Its thumbnails have been read. */
  constructor(space) {
    this.space = space;
    this.decoder = new Decoder(space.layers, space.line, space.shape);
    this.found = []; // images found by a search
    this.cloud = new Cloud(element("cloud"), space, {
      hover: (i, x, y) => this.showCard(i, x, y),
      pick: (i) => this.go(i),
      walk: (z) => this.walk(z),
    });
    element("title").textContent = space.title;
    element("summary").textContent = space.summary;
    offerAxes(space, this.cloud);
    followTheme(offerColors(space, this.cloud));
    const draw = (canvas, z) => showPixels(canvas, this.decoder.decode(z), space.shape);
    this.way = new Way(
      space.ends.map((i) => ({ z: space.latent(i), i })),
      draw,
      (z, i) => this.moveTo(z, i),
    );
    this.cloud.ends = this.way.ends;
    const count = Math.min(NEIGHBOURS, space.count);
    this.neighbours = Array.from({ length: count }, () => this.thumbnailButton());
    element("neighbours").append(...this.neighbours);
    this.sliders = new Sliders(space, draw, (k, value) => {
      this.walk(this.z.map((before, j) => (j === k ? value : before)));
    });
    this.worst = new WorstTable(space, this.decoder, (i) => this.go(i));
    this.connect();
    this.go(space.byError[Math.floor(space.count / 2)]); // neither the best nor the worst
  }

  // Where the current point is

  /** Go to image `i`. */
  go(i) {
    this.way.stop();
    this.moveTo(this.space.latent(i), i);
  }

  /** Go to any point of the latent space that the sliders can reach. */
  walk(z) {
    this.way.stop();
    this.moveTo(this.sliders.clamp(z));
  }

  /** Go to the next visible image (1) or the previous one (-1). */
  step(direction) {
    const { count } = this.space;
    let i = this.nearest;
    do i = (i + direction + count) % count;
    while (!this.cloud.visible[i] && i !== this.nearest);
    this.go(i);
  }

  /** Go to `z`: the latent of image `i`, or a point between the images. */
  moveTo(z, i = -1) {
    this.z = Float32Array.from(z);
    this.i = i;
    this.cloud.current = this.z;
    this.cloud.redraw();
    this.request ??= requestAnimationFrame(() => this.show());
  }

  /** Update the page to the current point. */
  show() {
    this.request = null;
    const { space, i, z } = this;
    const { nearest: around, mean } = space.neighbours(z, NEIGHBOURS, i);
    const onImage = i >= 0;
    const image = onImage ? i : around[0].i;
    this.nearest = image;
    const where = onImage ? this.describe(i) : "Between the images";
    if (element("where").textContent !== where) element("where").textContent = where; // screen readers read it
    const names = ["original", "decoded", "heat"];
    // Between the images there is no error to show.
    this.drawTriptych(names.slice(0, onImage ? 3 : 2).map(element), image, z);
    element("here").classList.toggle("between", !onImage);
    const { width, height } = space.original(image);
    const size = `${width} × ${height}`;
    const captions = onImage
      ? [`Original, ${size}`, "Reconstruction", `Squared error, 0 to ${write(space.heatMost)}`]
      : [`Nearest image: ${space.label(image) ?? space.titleOf(image)}`, "Decoded here", ""];
    names.forEach((name, n) => {
      element(`${name}-caption`).textContent = captions[n];
    });
    this.showFacts(image, onImage ? null : around[0].distance);
    this.showNeighbours(around, mean);
    this.sliders.show(z);
  }

  /** A description of image `i`: its name, or its split, index and label. */
  describe(i) {
    const { space } = this;
    return space.names || !space.labels ? space.titleOf(i) : `${space.titleOf(i)}: ${space.label(i)}`;
  }

  /** Draw an image, the decoder's output for a latent, and on a third canvas their difference. */
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

  /** Show the facts about image `i`; `distance` is how far away it is, null if it is current. */
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

  /** A button that goes to an image, which `label` sets; `action` is called with it. */
  thumbnailButton(action = (image) => this.go(image)) {
    const canvas = make("canvas", { className: "thumbnail" });
    const button = make("button", { type: "button" }, canvas, make("span"));
    button.addEventListener("click", () => action(Number(button.dataset.image)));
    return button;
  }

  /** Let a button show image `i`, and go to it. */
  label(button, i, note = "") {
    const { space } = this;
    const [canvas, caption] = button.children;
    showImage(canvas, space.original(i));
    caption.replaceChildren(...space.caption(i).map((textContent) => make("span", { textContent })));
    button.title = [this.describe(i), note].filter(Boolean).join(", ");
    button.dataset.image = i;
  }

  showNeighbours(around, mean) {
    // The buttons are reused: new ones would lose a press or the focus while the point moves.
    this.neighbours.forEach((button, n) => {
      button.hidden = n >= around.length;
      if (!button.hidden) this.label(button, around[n].i, `distance ${write(around[n].distance)}`);
    });
    if (!around.length) return; // a page of one image
    const [first, last] = [around[0], around.at(-1)].map(({ distance }) => write(distance));
    element("distances").textContent = `Distances from ${first} to ${last}, on average ${write(mean)} to all others`;
  }

  /** Show a card with image `i` beside the pointer; none for -1. */
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
      const { nearest } = space.neighbours(space.latent(i), NEIGHBOURS, i);
      const error = `error ${write(space.errors[i])}`;
      const label = space.names && space.labels ? [`label ${space.label(i)}`] : [];
      const thumbnails = nearest.map((other) => makeThumbnail(space.original(other.i)));
      card.replaceChildren(
        make("p", { className: "name", textContent: this.describe(i) }),
        make("div", { className: "triptych" }, ...three),
        make("p", { textContent: [...label, error, space.split(i), "nearest:"].join(" · ") }),
        make("div", { className: "thumbnails" }, ...thumbnails),
      );
    }
    // On the side of the pointer that has room.
    const { width, height } = this.cloud;
    const left = x + 20 + card.offsetWidth > width ? x - 20 - card.offsetWidth : x + 20;
    const top = Math.min(y - 20, height - card.offsetHeight - 8);
    card.style.left = `${Math.max(4, left)}px`;
    card.style.top = `${Math.max(4, top)}px`;
  }

  /** Make the current point an end of the path: 0 for A, 1 for B. */
  setEnd(n) {
    this.way.setEnd(n, this.z, this.i);
    this.cloud.redraw();
  }

  // Buttons and keys

  connect() {
    on("set-a", "click", () => this.setEnd(0));
    on("set-b", "click", () => this.setEnd(1));
    on("turn", "click", () => this.setWalking(false));
    on("walk", "click", () => this.setWalking(true));
    on("download", "click", () => save("latents.csv", this.space.toCsv()));
    on("help-button", "click", () => {
      element("help").showModal();
    });
    on("query", "input", () => this.search());
    on("query", "click", () => this.search());
    document.addEventListener("pointerdown", (event) => {
      if (!element("search").contains(event.target)) element("results").hidden = true;
    });
    on("search", "submit", (event) => {
      event.preventDefault();
      if (!this.found.length) return;
      this.choose(this.found[0]);
    });
    element("query").placeholder = `Search ${this.space.names ? "name, " : ""}index or label`;

    on("stage", "pointerdown", () => (element("hint").hidden = true));
    document.addEventListener("keydown", (event) => this.press(event));
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

  /** Go to image `i`, which a search has found. */
  choose(i) {
    this.go(i);
    element("results").hidden = true; // they cover the cloud; typing opens them again
    element("here").scrollIntoView({ block: "nearest" }); // on a phone, it is below the cloud
  }

  setWalking(walking) {
    this.cloud.walking = walking;
    element("hint").hidden = true; // it says how to turn
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
      const button = this.thumbnailButton((image) => this.choose(image));
      this.label(button, i);
      return button;
    });
    results.replaceChildren(
      make("p", { textContent: note }),
      make("div", { className: "thumbnails" }, ...buttons),
    );
  }
}

const latentSpace = new LatentSpace(JSON.parse(element("data").textContent));
export let explorer = null;
latentSpace.thumbnails.read().then(() => {
  element("data").remove();
  explorer = new Explorer(latentSpace);
});
