// The dots that the cloud is drawn with.

export const SHADES = 6; // the nearest points have full colours, the farthest are pale
const PALEST = 0.5; // how much of the background is mixed into the palest shade
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

function mix(color, other, share) {
  return `rgb(${color.map((value, c) => Math.round(value + (other[c] - value) * share)).join(",")})`;
}
