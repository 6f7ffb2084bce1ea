// The path from one point of the latent space to another.

import { element, make } from "./dom.js";

const PLAY_SECONDS = 4; // from A to B
const NAMES = ["a", "b"];

export class Way {
  /**
   * @param {{z: Float32Array, i: number}[]} ends A and B: latents, and their image, or -1.
   * @param {(canvas: HTMLCanvasElement, z: Float32Array) => void} draw Draws the image at a point.
   * @param {(z: Float32Array, i: number) => void} visit Goes to a point, and its image, or -1.
   */
  constructor(ends, draw, visit) {
    Object.assign(this, { ends, draw, visit });
    this.slider = element("progress");
    this.slider.addEventListener("input", () => {
      this.stop();
      this.go(Number(this.slider.value));
    });
    NAMES.forEach((name, n) => {
      element(`end-${name}`).addEventListener("click", () => {
        this.stop();
        this.go(n);
      });
      this.showEnd(n);
    });
    element("play").addEventListener("click", () => this.toggle());
  }

  /** Make a point an end: 0 for A, 1 for B. */
  setEnd(n, z, i) {
    this.stop();
    this.ends[n] = { z, i };
    this.slider.value = n;
    this.showEnd(n);
  }

  showEnd(n) {
    const canvas = make("canvas", { className: "thumbnail" });
    this.draw(canvas, this.ends[n].z);
    const button = element(`end-${NAMES[n]}`);
    button.replaceChildren(canvas, make("span", { textContent: NAMES[n].toUpperCase() }));
    button.title = `Go to ${NAMES[n].toUpperCase()}`;
  }

  /** Go to a share of the path, from 0 to 1. */
  go(share) {
    this.slider.value = share;
    const [a, b] = this.ends;
    if (share === 0) this.visit(a.z, a.i);
    else if (share === 1) this.visit(b.z, b.i);
    else this.visit(a.z.map((value, k) => value + share * (b.z[k] - value)), -1);
  }

  toggle() {
    if (this.playing) this.stop();
    else this.play();
  }

  /** Go from A to B and back, until `stop`. */
  play() {
    let begun = null; // when it started at A, or would have
    const step = (now) => {
      begun ??= now - PLAY_SECONDS * 1000 * Number(this.slider.value);
      const turns = (now - begun) / (PLAY_SECONDS * 1000);
      this.go(turns % 2 < 1 ? turns % 1 : 1 - (turns % 1));
      this.playing = requestAnimationFrame(step);
    };
    this.playing = requestAnimationFrame(step);
    element("play").textContent = "Pause";
  }

  stop() {
    cancelAnimationFrame(this.playing);
    this.playing = null;
    element("play").textContent = "Play";
  }
}
