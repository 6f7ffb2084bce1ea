// The distribution of scores, with a line at the threshold.

import { clamp } from "./dom.js";

const BINS = 80;
const LOG_FROM = 4; // the axis is logarithmic if the highest score is more than this times the lowest
const MARGIN = 0.03; // of the axis, on both sides of the scores

export class Histogram {
  /**
   * @param {HTMLCanvasElement} canvas
   * @param {number[]} scores At least one.
   * @param {number} threshold The first one, which is on the axis even if no score is near it.
   */
  constructor(canvas, scores, threshold) {
    this.canvas = canvas;
    const all = [...scores, threshold].toSorted((a, b) => a - b);
    const [lowest, highest] = [all[0], all[all.length - 1]];
    this.isLog = lowest > 0 && highest > LOG_FROM * lowest;
    const [low, high] = [lowest, highest].map((score) => this.forward(score));
    const margin = MARGIN * (high - low) || 0.5;
    [this.low, this.high] = [low - margin, high + margin];
    this.bins = Array.from({ length: BINS }, () => 0);
    for (const score of scores) this.bins[Math.min(BINS - 1, Math.floor(BINS * this.shareOf(score)))]++;
  }

  forward(score) {
    return this.isLog ? Math.log(Math.max(score, Number.MIN_VALUE)) : score;
  }

  /** Where a score is on the axis, from 0 to 1. */
  shareOf(score) {
    return clamp((this.forward(score) - this.low) / (this.high - this.low), 0, 1);
  }

  /** The score at a place on the axis, from 0 to 1. */
  scoreAt(share) {
    const value = this.low + clamp(share, 0, 1) * (this.high - this.low);
    return this.isLog ? Math.exp(value) : value;
  }

  draw(threshold) {
    const { canvas } = this;
    const ratio = window.devicePixelRatio;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    [canvas.width, canvas.height] = [Math.round(width * ratio), Math.round(height * ratio)];
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    const style = getComputedStyle(canvas);
    const color = (name) => style.getPropertyValue(`--${name}`);
    const most = Math.max(...this.bins);
    const at = this.shareOf(threshold);
    this.bins.forEach((count, k) => {
      const tall = count && Math.max(1.5, (count / most) * (height - 2));
      context.fillStyle = color((k + 0.5) / BINS > at ? "accent" : "muted");
      context.fillRect((k * width) / BINS, height - tall, width / BINS - 1, tall);
    });
    context.fillStyle = color("ink");
    context.fillRect(at * width - 1, 0, 2, height);
    canvas.setAttribute("aria-label", `How many images have which score; the threshold is ${threshold}`);
  }
}
