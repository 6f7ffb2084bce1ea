// The cloud of latents on a canvas, which can be turned and walked through.

import { Atlas, SHADES } from "./atlas.js";
import { drawBox } from "./box.js";
import { clamp } from "./dom.js";
import { followGestures } from "./gestures.js";
import { drawMarks, drawPlane } from "./marks.js";

const START = { azim: -60, elev: 30, zoom: 1, shift: [0, 0] }; // in degrees; as in ae plot3d
const REACH = 7; // pixels from a point within which a click or hover hits it
const MARGIN = 46; // pixels for the numbers and names around the box
const MOST_MOVING = 20000; // points that are drawn while the cloud turns
const DISTANCE = 5; // from the eye to the centre, in half-widths of the cloud
const BINS = 1024; // of depth, to sort the points

export class Cloud {
  /**
   * @param {HTMLCanvasElement} canvas
   * @param {LatentSpace} space
   * @param {object} on Callbacks: `hover(i, x, y)` with the point under the pointer or -1, `pick(i)`
   *   and `walk(z)`.
   */
  constructor(canvas, space, on) {
    Object.assign(this, { canvas, space, on });
    this.layer = document.createElement("canvas"); // the cloud without the marks that move in it
    this.stale = true; // whether the layer must be redrawn
    this.walking = false; // whether any drag walks
    this.current = space.latent(0);
    this.ends = []; // of the path: A and B
    this.marked = []; // points found by a search
    this.hovered = -1;
    this.drag = null; // the state of a drag while the pointer is down
    this.request = null; // of an animation frame
    this.x = new Float32Array(space.count);
    this.y = new Float32Array(space.count);
    this.depth = new Float32Array(space.count);
    this.order = new Uint32Array(space.count);
    this.visible = new Uint8Array(space.count).fill(1);
    Object.assign(this, START);
    new ResizeObserver(() => this.resize()).observe(canvas);
    followGestures(this);
  }

  /** Set the axes. */
  setProjection(projection) {
    const { space } = this;
    this.projection = projection;
    this.flat = projection.rows.length < 3;
    this.places = new Float32Array(3 * space.count); // in the box; see `place`
    const low = [Infinity, Infinity, Infinity];
    const high = [-Infinity, -Infinity, -Infinity];
    for (let i = 0; i < space.count; i++) {
      const place = projection.project(space.latent(i));
      if (place.length === 1) place.push(i / Math.max(1, space.count - 1)); // the second axis is the order
      for (let j = 0; j < 3; j++) {
        const value = place[j] ?? 0;
        this.places[3 * i + j] = value;
        low[j] = Math.min(low[j], value);
        high[j] = Math.max(high[j], value);
      }
    }
    // All axes have the same scale, so that distances can be compared. Only the second axis of a
    // one-dimensional space, which is not a latent, has its own.
    const halves = low.map((value, j) => (high[j] - value) / 2);
    const half = Math.max(...(projection.rows.length === 1 ? halves.slice(0, 1) : halves)) || 1;
    this.center = low.map((value, j) => (value + high[j]) / 2);
    this.scales = [half, projection.rows.length === 1 ? 1 : half, half];
    this.half = halves.map((value, j) => Math.max((1.04 * value) / this.scales[j], 0.02)); // of the box
    this.places.forEach((value, n) => {
      this.places[n] = (value - this.center[n % 3]) / this.scales[n % 3];
    });
    this.fit();
    this.reset();
  }

  /** Find the largest size of the box, and its centre, in the initial view. */
  fit() {
    const directions = this.directions(START);
    const signs = [-1, 1];
    const corners = signs.flatMap((u) => signs.flatMap((v) => signs.map((w) => [u, v, w])));
    const seen = corners.map((corner) =>
      this.look(corner.map((sign, j) => sign * this.half[j]), directions),
    );
    const across = seen.map(({ x }) => x);
    const down = seen.map(({ y }) => y);
    const [left, right, top, bottom] = [
      Math.min(...across), Math.max(...across), Math.min(...down), Math.max(...down),
    ];
    const scales = [
      (this.width - 2 * MARGIN) / (right - left), (this.height - 2 * MARGIN) / (bottom - top),
    ];
    this.base = Math.max(1, Math.min(...scales));
    this.middle = [
      (this.width - this.base * (left + right)) / 2,
      (this.height - this.base * (top + bottom)) / 2,
    ];
  }

  /** Return to the initial view. */
  reset() {
    this.view(START);
  }

  /** Turn, zoom or shift. */
  view(changes) {
    Object.assign(this, changes);
    this.elev = clamp(this.elev, -90, 90);
    this.zoom = clamp(this.zoom, 0.3, 40);
    this.redrawAll();
  }

  /**
   * Set the colours, and take the others from the page's theme.
   * @param {string[]} palette Colours as #rrggbb.
   * @param {(i: number) => number} choose The position of a point's colour in the palette.
   */
  setColors(palette, choose) {
    this.colors = Uint16Array.from({ length: this.space.count }, (_, i) => choose(i));
    const style = getComputedStyle(this.canvas);
    this.ink = style.getPropertyValue("--ink").trim();
    this.faint = style.getPropertyValue("--line").trim();
    this.accent = style.getPropertyValue("--accent").trim();
    this.background = style.getPropertyValue("--stage").trim();
    this.atlas = new Atlas(palette, this.background);
    this.redrawAll();
  }

  /** Hide the points of some colours, a Set of positions in the palette; show all others. */
  hide(hidden) {
    this.colors.forEach((color, i) => (this.visible[i] = hidden.has(color) ? 0 : 1));
    this.redrawAll();
  }

  resize() {
    const { width, height } = this.canvas.getBoundingClientRect();
    const ratio = window.devicePixelRatio || 1;
    for (const canvas of [this.canvas, this.layer]) {
      [canvas.width, canvas.height] = [Math.round(width * ratio), Math.round(height * ratio)];
    }
    Object.assign(this, { width, height, ratio, stale: true });
    if (this.projection) this.fit();
    this.draw(); // at once, since resizing clears a canvas
  }

  /** Redraw the marks that move in the cloud, in the next animation frame. */
  redraw() {
    this.request ??= requestAnimationFrame(() => this.draw());
  }

  /** Redraw everything, in the next animation frame. */
  redrawAll() {
    this.stale = true;
    this.redraw();
  }

  /** The directions to the right, up and towards the eye, in the axes of the cloud. */
  directions({ azim, elev } = this) {
    if (this.flat) return [[1, 0, 0], [0, 1, 0], [0, 0, 1]];
    const [a, e] = [(azim * Math.PI) / 180, (elev * Math.PI) / 180];
    return [
      [-Math.sin(a), Math.cos(a), 0],
      [-Math.sin(e) * Math.cos(a), -Math.sin(e) * Math.sin(a), Math.cos(e)],
      [Math.cos(e) * Math.cos(a), Math.cos(e) * Math.sin(a), Math.sin(e)],
    ];
  }

  /** Project a place in the box: x to the right, y down, the depth, and the magnification. */
  look([u, v, w], [right, up, near]) {
    const depth = u * near[0] + v * near[1] + w * near[2];
    const scale = this.enlarge(depth);
    const x = scale * (u * right[0] + v * right[1] + w * right[2]);
    const y = -scale * (u * up[0] + v * up[1] + w * up[2]);
    return { x, y, depth, scale };
  }

  /** The magnification at a depth, compared with the centre. */
  enlarge(depth) {
    return this.flat ? 1 : DISTANCE / Math.max(0.1, DISTANCE - depth);
  }

  /** The position of a place on the canvas, and the pixels per half-width there. */
  locate(place, directions) {
    const { x, y, depth, scale } = this.look(place, directions);
    const unit = this.zoom * this.base;
    return {
      x: this.middle[0] + this.shift[0] + unit * x,
      y: this.middle[1] + this.shift[1] + unit * y,
      depth,
      scale: unit * scale,
    };
  }

  /** The place of a latent in the box, in half-widths from its centre. */
  place(z) {
    const place = this.projection.project(z);
    return [0, 1, 2].map((j) => ((place[j] ?? this.center[j]) - this.center[j]) / this.scales[j]);
  }

  /** The position of the current point on the canvas. */
  here(directions = this.directions()) {
    return this.locate(this.place(this.current), directions);
  }

  draw() {
    cancelAnimationFrame(this.request);
    this.request = null;
    if (!this.atlas || !this.projection || !this.width) return;
    const { canvas } = this;
    const directions = this.directions();
    if (this.stale) {
      this.stale = false;
      this.context = this.layer.getContext("2d");
      this.context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
      this.context.fillStyle = this.background;
      this.context.fillRect(0, 0, this.width, this.height);
      drawBox(this, directions);
      this.arrange(directions);
      this.drawPoints();
    }
    this.context = canvas.getContext("2d");
    this.context.setTransform(1, 0, 0, 1, 0, 0);
    this.context.drawImage(this.layer, 0, 0);
    this.context.scale(this.ratio, this.ratio);
    const here = this.here(directions);
    if (this.drag?.walks) drawPlane(this, here);
    drawMarks(this, here, directions);
  }

  /** Find the positions of the points on the canvas, and sort them from far to near. */
  arrange(directions) {
    const { places, x, y, depth, order } = this;
    const bins = new Uint32Array(BINS + 1);
    this.depths = Math.hypot(...this.half);
    const bin = (d) => clamp(Math.floor((d / this.depths + 1) * (BINS / 2)), 0, BINS - 1);
    for (let i = 0; i < x.length; i++) {
      const seen = this.locate([places[3 * i], places[3 * i + 1], places[3 * i + 2]], directions);
      x[i] = seen.x;
      y[i] = seen.y;
      depth[i] = seen.depth;
      bins[bin(depth[i]) + 1]++;
    }
    for (let b = 1; b < bins.length; b++) bins[b] += bins[b - 1];
    for (let i = 0; i < x.length; i++) order[bins[bin(depth[i])]++] = i;
  }

  /** The radius of a dot at the depth of the centre, in pixels. */
  get radius() {
    const crowd = Math.sqrt((this.width * this.height) / this.space.count);
    return clamp(0.28 * crowd, 1.3, 6) * clamp(this.zoom ** 0.4, 0.8, 2.5);
  }

  drawPoints() {
    const { context, atlas, order, x, y, depth, colors, visible, radius, flat, depths } = this;
    const thin = this.drag ? Math.max(1, Math.round(order.length / MOST_MOVING)) : 1;
    for (const i of order) {
      if (!visible[i] || (thin > 1 && i % thin)) continue;
      const farness = flat ? 0 : clamp((1 - depth[i] / depths) / 2, 0, 1);
      const shade = Math.round((SHADES - 1) * farness);
      const r = radius * this.enlarge(depth[i]);
      atlas.draw(context, colors[i], shade, x[i], y[i], r);
    }
  }

  /** The visible point under the pointer, or -1. Of several, the one nearest to the eye. */
  pointAt(x, y) {
    let [found, best] = [-1, Infinity];
    const reach = Math.max(REACH, 1.3 * this.radius);
    for (let i = 0; i < this.x.length; i++) {
      const distance = Math.hypot(this.x[i] - x, this.y[i] - y);
      if (distance > reach || !this.visible[i]) continue;
      const rate = distance / reach - (this.flat ? 0 : this.depth[i] / this.depths);
      if (rate < best) [found, best] = [i, rate];
    }
    return found;
  }

  /** Move the current point by pixels, in the plane through it that faces the eye. */
  walkBy(dx, dy) {
    const directions = this.directions();
    const [right, up] = directions;
    const { scale } = this.here(directions);
    const step = right.map((_, j) => ((right[j] * dx - up[j] * dy) / scale) * this.scales[j]);
    this.on.walk(this.projection.walk(this.current, step));
  }

  hover(i, x, y) {
    if (i >= 0 || this.hovered >= 0) this.on.hover(i, x, y); // the card follows the pointer
    if (i === this.hovered) return;
    this.hovered = i;
    this.redraw();
  }
}
