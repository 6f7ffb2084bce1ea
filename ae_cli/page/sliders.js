// A slider for each latent.

import { clamp, element, make, write } from "./dom.js";

const STEPS = 200; // of a slider, from its lowest to its highest value
const ROOM = 0.15; // beyond the lowest and the highest latent, as a share of the range between them

export class Sliders {
  /**
   * @param {LatentSpace} space
   * @param {(k: number, value: number) => void} change Called when latent `k` is moved to a value.
   */
  constructor(space, change) {
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
      element("sliders").append(label, slider, value);
      return { slider, value, min, max };
    });
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
