// The cloud of latents on a canvas: it turns, and one walks through it.

import { drawBox } from "./box.js";
import { clamp } from "./dom.js";
import { followGestures } from "./gestures.js";

const START = { azim: -60, elev: 30, zoom: 1, shift: [0, 0] }; // in degrees, as ae plot3d begins
const REACH = 7; // pixels from a point at which it is meant
const SHADES = 6; // the nearest points have their full colours, the farthest are pale
const PALEST = 0.5;
const MARGIN = 46; // pixels for the numbers and names around the box
const MOST_MOVING = 20000; // points that are drawn while the cloud turns
const CELL = 32; // pixels of a dot in the atlas
const ROWS = 256; // of the atlas: no browser has canvases of any height
const DISTANCE = 5; // of the eye from the centre, in half-widths of the cloud
const BINS = 1024; // of depth, by which the points are sorted
const PLANE = 0.45; // half the side of the plane to walk in, in half-widths

export class Cloud {
  /**
   * @param {HTMLCanvasElement} canvas
   * @param {LatentSpace} space
   * @param {object} on Functions: `hover(i, x, y)` with the point under the pointer or -1, `pick(i)`,
   *   and `walk(z)`.
   */
  constructor(canvas, space, on) {
    Object.assign(this, { canvas, space, on });
    this.layer = document.createElement("canvas"); // the cloud without what moves in it
    this.stale = true; // whether it is to be drawn anew
    this.walking = false; // whether a drag anywhere walks
    this.current = space.latent(0);
    this.ends = []; // of the way: A and B
    this.marked = []; // points found by a search
    this.hovered = -1;
    this.drag = null; // what a finger or the mouse does while it is down
    this.request = null; // for the browser's next frame
    this.x = new Float32Array(space.count);
    this.y = new Float32Array(space.count);
    this.depth = new Float32Array(space.count);
    this.order = new Uint32Array(space.count);
    this.visible = new Uint8Array(space.count).fill(1);
    Object.assign(this, START);
    new ResizeObserver(() => this.resize()).observe(canvas);
    followGestures(this);
  }

  /** Choose the axes. */
  setProjection(projection) {
    const { space } = this;
    this.projection = projection;
    this.flat = projection.rows.length < 3;
    this.places = new Float32Array(3 * space.count); // in the box, as `place` says
    const low = [Infinity, Infinity, Infinity];
    const high = [-Infinity, -Infinity, -Infinity];
    for (let i = 0; i < space.count; i++) {
      const place = projection.project(space.latent(i));
      if (place.length === 1) place.push(i / Math.max(1, space.count - 1)); // spread by their order
      for (let j = 0; j < 3; j++) {
        const value = place[j] ?? 0;
        this.places[3 * i + j] = value;
        low[j] = Math.min(low[j], value);
        high[j] = Math.max(high[j], value);
      }
    }
    // One scale for all axes, so that distances look like what they are. Only the second axis of a
    // one-dimensional space is not a latent, and has a scale of its own.
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

  /** Find how large the box may be, and where its centre belongs, as it is seen at first. */
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

  /** See it as at first. */
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
   * Choose the colours.
   * @param {string[]} palette As CSS writes them: #rrggbb.
   * @param {(i: number) => number} choose The position of a point's colour in it.
   */
  setColors(palette, choose) {
    this.palette = palette;
    this.colors = Uint16Array.from({ length: this.space.count }, (_, i) => choose(i));
    this.makeAtlas();
  }

  /** Draw the points of all colours but those at these positions: a Set. */
  hide(hidden) {
    this.colors.forEach((color, i) => (this.visible[i] = hidden.has(color) ? 0 : 1));
    this.redrawAll();
  }

  /** Draw a dot of each colour in each shade once, to be copied from there. */
  makeAtlas() {
    if (!this.palette) return; // the page knows its theme before its colours
    const style = getComputedStyle(this.canvas);
    this.ink = style.getPropertyValue("--ink").trim();
    this.faint = style.getPropertyValue("--line").trim();
    this.accent = style.getPropertyValue("--accent").trim();
    this.background = style.getPropertyValue("--stage").trim();
    const paper = parseColor(this.background);
    this.atlas = document.createElement("canvas");
    this.atlas.width = SHADES * CELL * Math.ceil(this.palette.length / ROWS);
    this.atlas.height = CELL * Math.min(this.palette.length, ROWS);
    const context = this.atlas.getContext("2d");
    this.palette.map(parseColor).forEach((color, position) => {
      for (let shade = 0; shade < SHADES; shade++) {
        const share = (PALEST * shade) / (SHADES - 1);
        context.fillStyle = mix(color, paper, share);
        context.strokeStyle = mix(color, paper, 0.5 + share / 2);
        context.lineWidth = CELL / 12;
        const [x, y] = this.cell(position, shade);
        context.beginPath();
        context.arc(x + CELL / 2, y + CELL / 2, CELL / 2 - 2, 0, 2 * Math.PI);
        context.fill();
        context.stroke();
      }
    });
    this.redrawAll();
  }

  /** Where in the atlas the dot of a colour in a shade is. */
  cell(position, shade) {
    const column = SHADES * Math.floor(position / ROWS) + shade;
    return [column * CELL, (position % ROWS) * CELL];
  }

  resize() {
    const { width, height } = this.canvas.getBoundingClientRect();
    const ratio = window.devicePixelRatio || 1;
    for (const canvas of [this.canvas, this.layer]) {
      [canvas.width, canvas.height] = [Math.round(width * ratio), Math.round(height * ratio)];
    }
    Object.assign(this, { width, height, ratio, stale: true });
    if (this.projection) this.fit();
    this.draw(); // at once: a canvas that has another size is empty
  }

  /** Draw what moves in the cloud anew, with the browser's next frame. */
  redraw() {
    this.request ??= requestAnimationFrame(() => this.draw());
  }

  redrawAll() {
    this.stale = true;
    this.redraw();
  }

  /** The directions to the right, upwards and towards the eye, in the cloud's own axes. */
  directions({ azim, elev } = this) {
    if (this.flat) return [[1, 0, 0], [0, 1, 0], [0, 0, 1]];
    const [a, e] = [(azim * Math.PI) / 180, (elev * Math.PI) / 180];
    return [
      [-Math.sin(a), Math.cos(a), 0],
      [-Math.sin(e) * Math.cos(a), -Math.sin(e) * Math.sin(a), Math.cos(e)],
      [Math.cos(e) * Math.cos(a), Math.cos(e) * Math.sin(a), Math.sin(e)],
    ];
  }

  /** How a place in the box is seen: to the right and down, how near, and how much enlarged. */
  look([u, v, w], [right, up, near]) {
    const depth = u * near[0] + v * near[1] + w * near[2];
    const scale = this.enlarge(depth);
    const x = scale * (u * right[0] + v * right[1] + w * right[2]);
    const y = -scale * (u * up[0] + v * up[1] + w * up[2]);
    return { x, y, depth, scale };
  }

  /** How much larger than at the centre something looks at a depth. */
  enlarge(depth) {
    return this.flat ? 1 : DISTANCE / Math.max(0.1, DISTANCE - depth);
  }

  /** Where on the canvas that is, and how many pixels a half-width has there. */
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

  /** The place in the box of a latent, in half-widths from its centre. */
  place(z) {
    const place = this.projection.project(z);
    return [0, 1, 2].map((j) => ((place[j] ?? this.center[j]) - this.center[j]) / this.scales[j]);
  }

  /** Where the current point is on the canvas. */
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
    if (this.drag?.walks) this.drawPlane(here);
    this.drawMarks(here, directions);
  }

  /** Find where the points are on the canvas, and sort them from the farthest to the nearest. */
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

  /** Pixels from the centre of a dot to its edge, where the scale is that of the centre. */
  get radius() {
    const crowd = Math.sqrt((this.width * this.height) / this.space.count);
    return clamp(0.28 * crowd, 1.3, 6) * clamp(this.zoom ** 0.4, 0.8, 2.5);
  }

  drawPoints() {
    const { context, order, x, y, depth, colors, visible, radius, flat, depths } = this;
    const thin = this.drag ? Math.max(1, Math.round(order.length / MOST_MOVING)) : 1;
    for (const i of order) {
      if (!visible[i] || (thin > 1 && i % thin)) continue;
      const farness = flat ? 0 : clamp((1 - depth[i] / depths) / 2, 0, 1);
      const shade = Math.round((SHADES - 1) * farness);
      const r = radius * this.enlarge(depth[i]);
      const [left, top] = this.cell(colors[i], shade);
      context.drawImage(this.atlas, left, top, CELL, CELL, x[i] - r, y[i] - r, 2 * r, 2 * r);
    }
  }

  /** The plane through the current point that faces the eye, in which a drag moves it. */
  drawPlane({ x, y, scale }) {
    const { context } = this;
    const side = PLANE * scale;
    context.fillStyle = context.strokeStyle = this.accent;
    context.lineWidth = 1;
    context.globalAlpha = 0.1;
    context.fillRect(x - side, y - side, 2 * side, 2 * side);
    context.globalAlpha = 0.5;
    for (let n = -3; n <= 3; n++) {
      const at = (n * side) / 3;
      context.beginPath();
      context.moveTo(x - side, y + at);
      context.lineTo(x + side, y + at);
      context.moveTo(x + at, y - side);
      context.lineTo(x + at, y + side);
      context.stroke();
    }
    context.globalAlpha = 1;
  }

  /** The current point, the two ends of the way, and what was found or is pointed at. */
  drawMarks(here, directions) {
    const { context } = this;
    const ring = (x, y, radius, color, width) => {
      for (const [style, extra] of [[this.background, 3], [color, 0]]) {
        context.strokeStyle = style;
        context.lineWidth = width + extra;
        context.beginPath();
        context.arc(x, y, radius, 0, 2 * Math.PI);
        context.stroke();
      }
    };
    for (const i of this.marked) ring(this.x[i], this.y[i], 7, this.ink, 1.5);
    if (this.hovered >= 0) ring(this.x[this.hovered], this.y[this.hovered], 8, this.ink, 2);
    const ends = this.ends.map(({ z }) => this.locate(this.place(z), directions));
    if (ends.length === 2) {
      context.strokeStyle = this.ink;
      context.lineWidth = 1.5;
      context.setLineDash([4, 4]);
      context.beginPath();
      context.moveTo(ends[0].x, ends[0].y);
      context.lineTo(ends[1].x, ends[1].y);
      context.stroke();
      context.setLineDash([]);
    }
    ends.forEach(({ x, y }, n) => {
      context.fillStyle = this.ink;
      context.beginPath();
      context.arc(x, y, 9, 0, 2 * Math.PI);
      context.fill();
      context.fillStyle = this.background;
      context.font = "600 11px system-ui, sans-serif";
      context.textAlign = "center";
      context.textBaseline = "middle";
      context.fillText("AB"[n], x, y + 0.5);
    });
    ring(here.x, here.y, 11, this.accent, 3);
    context.fillStyle = this.accent;
    context.beginPath();
    context.arc(here.x, here.y, 3, 0, 2 * Math.PI);
    context.fill();
  }

  /** The visible point under the pointer, the nearest to the eye if there are several; or -1. */
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

/** Red, green and blue, 0 … 255, of #rrggbb. */
function parseColor(text) {
  return [1, 3, 5].map((at) => parseInt(text.slice(at, at + 2), 16));
}

function mix(color, other, share) {
  return `rgb(${color.map((value, c) => Math.round(value + (other[c] - value) * share)).join(",")})`;
}
