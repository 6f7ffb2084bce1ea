// The dots that the cloud is drawn with.

export const SHADES = 6; // the nearest points have full colours, the farthest are pale
const PALEST = 0.5; // how much of the background is mixed into the palest shade at most
const LEAST_CONTRAST = 3; // of a dot with the background; a fainter colour has the same in all shades
const CELL = 32; // pixels per side of a dot
const ROWS = 256; // of dots; browsers limit the height of a canvas

/** A dot of each colour in each shade, drawn once to be copied from here. */
export class Atlas {
  /**
   * @param {string[]} palette Colours as #rrggbb.
   * @param {string} background The colour behind the dots, as #rrggbb.
   */
  constructor(palette, background) {
    const paper = parseColor(background);
    this.canvas = document.createElement("canvas");
    this.canvas.width = SHADES * CELL * Math.ceil(palette.length / ROWS);
    this.canvas.height = CELL * Math.min(palette.length, ROWS);
    const context = this.canvas.getContext("2d");
    palette.map(parseColor).forEach((color, position) => {
      const palest = findPalest(color, paper);
      for (let shade = 0; shade < SHADES; shade++) {
        const share = (palest * shade) / (SHADES - 1);
        context.fillStyle = asText(mix(color, paper, share));
        context.strokeStyle = asText(mix(color, paper, 0.5 + share / 2));
        context.lineWidth = CELL / 12;
        const [x, y] = this.cell(position, shade);
        context.beginPath();
        context.arc(x + CELL / 2, y + CELL / 2, CELL / 2 - 2, 0, 2 * Math.PI);
        context.fill();
        context.stroke();
      }
    });
  }

  /** The upper left corner of the dot of a colour in a shade. */
  cell(position, shade) {
    const column = SHADES * Math.floor(position / ROWS) + shade;
    return [column * CELL, (position % ROWS) * CELL];
  }

  /** Draw the dot of a colour in a shade at a place, with a radius in pixels. */
  draw(context, position, shade, x, y, radius) {
    const [left, top] = this.cell(position, shade);
    const size = 2 * radius;
    context.drawImage(this.canvas, left, top, CELL, CELL, x - radius, y - radius, size, size);
  }
}

/** Red, green and blue, each 0 to 255, of #rrggbb. */
function parseColor(text) {
  return [1, 3, 5].map((at) => parseInt(text.slice(at, at + 2), 16));
}

function asText(color) {
  return `rgb(${color.join(",")})`;
}

function mix(color, other, share) {
  return color.map((value, c) => Math.round(value + (other[c] - value) * share));
}

/** How much of the background can be mixed into a colour that must still be visible on it. */
function findPalest(color, paper) {
  let share = PALEST;
  while (share > 0 && contrast(mix(color, paper, share), paper) < LEAST_CONTRAST) share -= 0.02;
  return Math.max(share, 0);
}

/** The contrast of two colours as in WCAG 2, from 1 to 21. */
function contrast(color, other) {
  const [dark, light] = [color, other].map(luminance).toSorted((a, b) => a - b);
  return (light + 0.05) / (dark + 0.05);
}

/** The relative luminance of a colour in sRGB, from 0 to 1. */
function luminance(color) {
  const [red, green, blue] = color
    .map((value) => value / 255)
    .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}
