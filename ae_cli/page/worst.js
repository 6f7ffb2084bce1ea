// The table of the images with the largest reconstruction errors.

import { element, make, write } from "./dom.js";
import { makeThumbnail, showPixels } from "./pictures.js";

const WORST = 10; // rows of the table, and how many more each time

export class WorstTable {
  /**
   * @param {LatentSpace} space
   * @param {Decoder} decoder
   * @param {(i: number) => void} pick Called when image `i` is clicked.
   */
  constructor(space, decoder, pick) {
    Object.assign(this, { space, decoder, pick });
    const label = space.labels ? ["Label"] : [];
    const columns = ["Original", "Drawn", space.names ? "Name" : "Image", ...label, "Error"];
    const head = columns.map((textContent) => make("th", { scope: "col", textContent }));
    element("worst").tHead.replaceChildren(make("tr", {}, ...head));
    element("more").addEventListener("click", () => this.addRows());
    this.addRows();
  }

  /** List the next images. */
  addRows() {
    const { space } = this;
    const body = element("worst").tBodies[0];
    const more = space.byError.subarray(body.rows.length, body.rows.length + WORST);
    body.append(...Array.from(more, (i) => this.makeRow(i)));
    element("more").hidden = body.rows.length >= space.count;
  }

  makeRow(i) {
    const { space } = this;
    const drawn = make("canvas", { className: "thumbnail" });
    showPixels(drawn, this.decoder.decode(space.latent(i)), space.shape);
    // A name that is too long is broken after a / or _ if possible.
    const parts = space.titleOf(i).match(/[^/_]*[/_]?/g).flatMap((part) => [part, make("wbr")]);
    const name = make("button", { type: "button", className: "link" }, ...parts);
    const label = make("span", { className: "label", textContent: space.label(i) });
    const cells = [makeThumbnail(space.original(i)), drawn, name];
    if (space.labels) cells.push(label);
    cells.push(write(space.errors[i]));
    const row = make("tr", {}, ...cells.map((cell) => make("td", {}, cell)));
    row.dataset.image = i;
    row.addEventListener("click", () => this.pick(i));
    return row;
  }
}
