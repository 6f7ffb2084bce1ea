// Images on canvases of their own size, which the style sheet enlarges.

import { make } from "./dom.js";

/** Show ImageData on a canvas. */
export function showImage(canvas, image) {
  [canvas.width, canvas.height] = [image.width, image.height];
  canvas.getContext("2d").putImageData(image, 0, 0);
}

/** A canvas that shows ImageData as a thumbnail. */
export function makeThumbnail(image) {
  const canvas = make("canvas", { className: "thumbnail" });
  showImage(canvas, image);
  return canvas;
}

/** Show pixels in [0, 1], channel by channel; the shape is channels, height and width. */
export function showPixels(canvas, pixels, [channels, height, width]) {
  const image = new ImageData(width, height);
  const size = width * height;
  for (let i = 0; i < size; i++) {
    for (let c = 0; c < 3; c++) {
      image.data[4 * i + c] = Math.round(255 * pixels[channels === 3 ? c * size + i : i]);
    }
    image.data[4 * i + 3] = 255;
  }
  showImage(canvas, image);
}

/** Show the squared differences between pixels and an original (ImageData), as a heat map. */
export function showHeat(canvas, original, pixels, channels, colors, most) {
  const image = new ImageData(original.width, original.height);
  const size = original.width * original.height;
  for (let i = 0; i < size; i++) {
    let sum = 0;
    for (let c = 0; c < channels; c++) sum += (original.data[4 * i + c] / 255 - pixels[c * size + i]) ** 2;
    const level = Math.min(255, Math.round((255 * sum) / channels / most));
    image.data.set(colors.subarray(3 * level, 3 * level + 3), 4 * i);
    image.data[4 * i + 3] = 255;
  }
  showImage(canvas, image);
}

/** Reduce pixels to a smaller image. Each new pixel is the mean of those that it covers. */
export function shrink(pixels, [channels, height, width], toWidth, toHeight) {
  if (toWidth === width && toHeight === height) return pixels;
  const across = shares(width, toWidth);
  const down = shares(height, toHeight);
  const small = new Float32Array(channels * toWidth * toHeight);
  let at = 0;
  for (let c = 0; c < channels; c++) {
    for (const rows of down) {
      for (const columns of across) {
        for (const [y, tall] of rows) {
          for (const [x, wide] of columns) small[at] += tall * wide * pixels[(c * height + y) * width + x];
        }
        at++;
      }
    }
  }
  return small;
}

/** Divide a line of `from` pixels into `to` equal parts: the pixels of each, with their shares. */
function shares(from, to) {
  return Array.from({ length: to }, (_, part) => {
    const [start, end] = [(part * from) / to, ((part + 1) * from) / to];
    const inside = [];
    for (let x = Math.floor(start); x < end; x++) {
      inside.push([x, ((Math.min(end, x + 1) - Math.max(start, x)) * to) / from]);
    }
    return inside;
  });
}
