// A slider for each latent. Sliders of many latents are ordered by what the latents change.

import { clamp, element, make, write } from "./dom.js";

const STEPS = 200; // of a slider, from its lowest to its highest value
const ROOM = 0.15; // beyond the lowest and the highest latent, as a share of the range between them
const SHOWN = 6; // sliders of many; the others are folded away
const LEAST_FOLDED = 3; // fewer are not worth folding away

/** Write a share as a percentage with one or two digits. */
function percent(share) {
  const value = 100 * share;
  if (value > 0 && value < 0.1) return "<0.1%";
  return `${value >= 1 || value === 0 ? Math.round(value) : value.toFixed(1)}%`;
}

export class Sliders {
  /**
   * @param {LatentSpace} space
   * @param {(canvas: HTMLCanvasElement, z: number[]) => void} draw Draws the image at a point.
   * @param {(k: number, value: number) => void} change Called when latent `k` is moved to a value.
   */
  constructor(space, draw, change) {
    Object.assign(this, { draw, changes: space.changes });
    this.sliders = Array.from({ length: space.dimensions }, (_, k) => {
      const [low, high] = space.range(k);
      const room = ROOM * (high - low) || 1;
      const [min, max] = [low - room, high + room];
      const slider = make("input", { type: "range", min, max, step: "any", id: `z${k + 1}` });
      const value = make("output", { htmlFor: slider.id });
      slider.addEventListener("input", () => change(k, Number(slider.value)));
      // Without fixed steps, the arrow keys would move the slider too far.
      slider.addEventListener("keydown", (event) => {
        const direction = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 }[event.key];
        if (!direction) return;
        event.preventDefault();
        slider.value = Number(slider.value) + (direction * (max - min)) / STEPS;
        slider.dispatchEvent(new Event("input"));
      });
      const label = make("label", { htmlFor: slider.id, textContent: `z${k + 1}` });
      return { label, slider, value, min, max };
    });
    if (this.changes) this.arrange();
    else this.sliders.forEach(({ label, slider, value }) => element("sliders").append(label, slider, value));
  }

  /** Lay out many sliders: first the latents that change the most, each with what it changes. */
  arrange() {
    const { shares } = this.changes;
    const order = [...shares.keys()].sort((a, b) => shares[b] - shares[a]);
    const count = order.length < SHOWN + LEAST_FOLDED ? order.length : SHOWN;
    const [shown, folded] = [order.slice(0, count), order.slice(count)];
    element("sliders").classList.add("many");
    element("sliders-note").textContent =
      "In the order of their shares of the variance of the decoded images. Beside each: the images " +
      "two standard deviations below and above the mean latent.";
    shown.forEach((k) => this.append(element("sliders"), k));
    if (!folded.length) return;
    const rest = folded.reduce((sum, k) => sum + shares[k], 0);
    const summary = make("summary", {
      textContent: `${folded.length} more, with ${percent(rest)} of the variance`,
    });
    const inside = make("div", { className: "many" });
    const details = make("details", {}, summary, inside);
    const open = () => {
      // One per frame: hundreds of images would keep the page from reacting.
      const k = folded.shift();
      if (k === undefined) return;
      this.append(inside, k);
      requestAnimationFrame(open);
    };
    details.addEventListener("toggle", open, { once: true });
    element("sliders").append(details);
  }

  /** Append the slider of latent `k`, between pictures of what it changes. */
  append(parent, k) {
    const { label, slider, value } = this.sliders[k];
    const { mean, low, high, shares } = this.changes;
    label.append(make("small", { textContent: percent(shares[k]) }));
    const [less, more] = [low, high].map((end) => {
      const canvas = make("canvas", { className: "thumbnail" });
      this.draw(canvas, mean.map((middle, j) => (j === k ? end[k] : middle)));
      return canvas;
    });
    parent.append(label, less, slider, more, value);
  }

  /** The point nearest to `z` that the sliders can reach. */
  clamp(z) {
    return z.map((value, k) => clamp(value, this.sliders[k].min, this.sliders[k].max));
  }

  /** Move the sliders to a point. */
  show(z) {
    this.sliders.forEach(({ slider, value }, k) => {
      slider.value = z[k];
      value.textContent = write(z[k]);
    });
  }
}
