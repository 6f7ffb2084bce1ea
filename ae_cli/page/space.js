// The page's data: images as thumbnails, with their latents and everything that is known about them.

import { quote, shorten } from "./csv.js";
import { abbreviate } from "./dom.js";
import { fromHalf, unpack } from "./packed.js";
import { Sheet } from "./sheet.js";

const ORDER = new Intl.Collator(undefined, { numeric: true }); // of titles: 9 before 10
const LONGEST = 7; // characters below a thumbnail

export class LatentSpace {
  /** @param {object} data As written by ae_cli/page/explorer.py. */
  constructor(data) {
    Object.assign(this, data);
    this.latents = unpack(Float32Array, data.latents); // (count, dimensions)
    this.errors = unpack(Float32Array, data.errors); // (count)
    this.index = unpack(Int32Array, data.index); // (count)
    this.splits = unpack(Uint8Array, data.splits); // (count), positions in splitNames
    this.labels = data.labels && unpack(Int32Array, data.labels); // (count), positions in classes
    const read = (layer) => ({
      ...layer,
      weight: data.half
        ? fromHalf(unpack(Uint16Array, layer.weight))
        : unpack(Float32Array, layer.weight),
      bias: unpack(Float32Array, layer.bias),
    });
    this.layers = data.layers.map(read);
    this.line = data.line && read(data.line);
    this.thumbnails = new Sheet(data.thumbnails);
    this.heatColors = unpack(Uint8Array, data.heatColors); // (256, 3)
    this.byError = Uint32Array.from(this.errors.keys()).sort((a, b) => this.errors[b] - this.errors[a]);
    this.rank = new Uint32Array(this.count); // 0 for the largest error
    this.byError.forEach((i, place) => (this.rank[i] = place));
  }

  /** The latent of image `i`, as a view. */
  latent(i) {
    return this.latents.subarray(i * this.dimensions, (i + 1) * this.dimensions);
  }

  /** The lowest and the highest value of latent `k`. */
  range(k) {
    let [low, high] = [Infinity, -Infinity];
    for (let i = k; i < this.latents.length; i += this.dimensions) {
      low = Math.min(low, this.latents[i]);
      high = Math.max(high, this.latents[i]);
    }
    return [low, high];
  }

  /** The original of image `i`, as ImageData of a thumbnail's size. */
  original(i) {
    return this.thumbnails.image(i);
  }

  label(i) {
    return this.labels ? this.classes[this.labels[i]] : null;
  }

  split(i) {
    return this.splitNames[this.splits[i]];
  }

  /** A short title of image `i`. */
  titleOf(i) {
    if (this.names) return this.names[i];
    return this.splitNames.length > 1 ? `${this.split(i)} ${this.index[i]}` : `image ${this.index[i]}`;
  }

  /** The lines below a small picture of image `i`: its label and name, if it has any. */
  caption(i) {
    const lines = [this.label(i), this.names && abbreviate(this.names[i], LONGEST)].filter(Boolean);
    return lines.length ? lines : [this.titleOf(i)];
  }

  /**
   * The images whose latents are nearest to a point, by Euclidean distance.
   * @returns {{nearest: {i: number, distance: number}[], mean: number}} Up to `count`, the nearest
   *   first, and the mean distance of all images, both without the image `except`.
   */
  neighbours(z, count, except = -1) {
    const found = [];
    let [total, others] = [0, 0];
    for (let i = 0, at = 0; i < this.count; i++) {
      let sum = 0;
      for (let k = 0; k < this.dimensions; k++) sum += (this.latents[at++] - z[k]) ** 2;
      if (i === except) continue;
      total += Math.sqrt(sum);
      others++;
      if (found.length === count && sum >= found[count - 1].distance) continue;
      if (found.length === count) found.pop();
      const place = found.findLastIndex((other) => other.distance <= sum) + 1;
      found.splice(place, 0, { i, distance: sum });
    }
    const nearest = found.map(({ i, distance }) => ({ i, distance: Math.sqrt(distance) }));
    return { nearest, mean: total / others };
  }

  /** Find images whose name contains a text, or whose index or label it is; exact matches first. */
  search(text) {
    const wanted = text.trim().toLowerCase();
    if (!wanted) return [];
    const scores = [];
    for (let i = 0; i < this.count; i++) {
      const name = this.names?.[i].toLowerCase() ?? "";
      const exact = [String(this.index[i]), name, this.titleOf(i).toLowerCase()].includes(wanted);
      const alike = name.includes(wanted) || this.label(i)?.toLowerCase() === wanted;
      if (exact || alike) scores.push([exact ? 0 : 1, i]);
    }
    const byTitle = (i, j) => ORDER.compare(this.titleOf(i), this.titleOf(j));
    return scores.sort((a, b) => a[0] - b[0] || byTitle(a[1], b[1])).map(([, i]) => i);
  }

  /** The table of these images as CSV, with the columns that `ae embed` writes. */
  toCsv() {
    const header = ["index", "split"];
    if (this.names) header.push("name");
    if (this.labels) header.push("label");
    for (let k = 1; k <= this.dimensions; k++) header.push(`z${k}`);
    header.push("error");
    if (this.run) header.push("run");
    const lines = [header.join(",")];
    for (let i = 0; i < this.count; i++) {
      const cells = [this.index[i], this.split(i)];
      if (this.names) cells.push(quote(this.names[i]));
      if (this.labels) cells.push(quote(this.label(i)));
      this.latent(i).forEach((x) => cells.push(shorten(x)));
      cells.push(shorten(this.errors[i]));
      if (this.run) cells.push(this.run);
      lines.push(cells.join(","));
    }
    return `${lines.join("\n")}\n`;
  }
}
