// The trained decoder: from a latent to the pixels of an image, layer by layer.
//
// Every layer is a product of a matrix with vectors: a linear layer has one vector; a layer that
// works on a grid has one at each position.

// The error function to within 2e-7: Abramowitz and Stegun, Handbook of Mathematical Functions,
// 7.1.26.
function erf(x) {
  const t = 1 / (1 + 0.3275911 * Math.abs(x));
  const series =
    t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
  return Math.sign(x) * (1 - series * Math.exp(-x * x));
}

// In place, and each with its own loop: calling a function per number would take longer.
const ACTIVATIONS = {
  tanh(x) {
    for (let i = 0; i < x.length; i++) x[i] = Math.tanh(x[i]);
  },
  relu(x) {
    for (let i = 0; i < x.length; i++) if (x[i] < 0) x[i] = 0;
  },
  silu(x) {
    for (let i = 0; i < x.length; i++) x[i] /= 1 + Math.exp(-x[i]);
  },
  gelu(x) {
    for (let i = 0; i < x.length; i++) x[i] *= 0.5 * (1 + erf(x[i] / Math.SQRT2));
  },
  sigmoid(x) {
    for (let i = 0; i < x.length; i++) x[i] = 1 / (1 + Math.exp(-x[i]));
  },
  identity() {},
};

/**
 * Multiply a matrix with vectors, and add the bias to each product.
 * @param {Float32Array} vectors (rows, inputs)
 * @param {Float32Array} weight (outputs, inputs)
 * @param {Float32Array} bias (outputs)
 * @param {Float32Array} products (rows, outputs), which it fills.
 */
function multiply(vectors, weight, bias, products) {
  const outputs = bias.length;
  const inputs = weight.length / outputs;
  const rows = products.length / outputs;
  // Eight products at a time, of two vectors and four outputs, as a processor computes independent
  // sums side by side. Where fewer are left, some of the eight are the same.
  for (let o = 0; o < outputs; o += 4) {
    const last = outputs - 1;
    const [o1, o2, o3] = [Math.min(o + 1, last), Math.min(o + 2, last), Math.min(o + 3, last)];
    for (let row = 0; row < rows; row += 2) {
      const next = Math.min(row + 1, rows - 1);
      let [a, a1, a2, a3] = [bias[o], bias[o1], bias[o2], bias[o3]];
      let [b, b1, b2, b3] = [a, a1, a2, a3];
      let [w, w1, w2, w3] = [o * inputs, o1 * inputs, o2 * inputs, o3 * inputs];
      const end = (row + 1) * inputs;
      for (let i = row * inputs, j = next * inputs; i < end; i++, j++, w++, w1++, w2++, w3++) {
        const x = vectors[i];
        const y = vectors[j];
        a += weight[w] * x;
        a1 += weight[w1] * x;
        a2 += weight[w2] * x;
        a3 += weight[w3] * x;
        b += weight[w] * y;
        b1 += weight[w1] * y;
        b2 += weight[w2] * y;
        b3 += weight[w3] * y;
      }
      const [to, after] = [row * outputs, next * outputs];
      products[to + o] = a;
      products[to + o1] = a1;
      products[to + o2] = a2;
      products[to + o3] = a3;
      products[after + o] = b;
      products[after + o1] = b1;
      products[after + o2] = b2;
      products[after + o3] = b3;
    }
  }
}

class Linear {
  constructor({ weight, bias }) {
    Object.assign(this, { weight, bias });
    this.output = new Float32Array(bias.length);
  }

  run(input) {
    multiply(input, this.weight, this.bias, this.output);
    return this.output;
  }
}

/** A linear layer at each position, whose output is a block of vectors of the next grid. */
class Expand {
  constructor({ weight, bias, grid: [height, width], factor }) {
    Object.assign(this, { weight, bias, factor });
    this.width = width;
    this.blocks = new Float32Array(height * width * bias.length);
    this.output = new Float32Array(this.blocks.length);
  }

  run(input) {
    const { blocks, output, factor, width } = this;
    multiply(input, this.weight, this.bias, blocks);
    // A row of a block lies beside that of the next block.
    const size = this.bias.length / factor; // of a row
    for (let from = 0, block = 0; from < blocks.length; block++) {
      const [y, x] = [Math.floor(block / width), block % width];
      for (let row = 0; row < factor; row++, from += size) {
        const to = ((y * factor + row) * width + x) * size;
        for (let i = 0; i < size; i++) output[to + i] = blocks[from + i];
      }
    }
    return output;
  }
}

/** A 3 × 3 convolution, with zeros around the grid. */
class Convolution {
  constructor({ weight, bias, grid: [height, width] }) {
    const outputs = bias.length;
    this.inputs = weight.length / outputs / 9;
    Object.assign(this, { bias, height, width });
    this.weight = new Float32Array(weight.length); // (outputs, 3, 3, inputs) instead of (outputs, inputs, 3, 3)
    for (let from = 0; from < weight.length; from++) {
      const [row, place] = [Math.floor(from / 9), from % 9];
      const [o, i] = [Math.floor(row / this.inputs), row % this.inputs];
      this.weight[(o * 9 + place) * this.inputs + i] = weight[from];
    }
    // Around each position, 3 × 3 vectors. Those outside the grid stay zero.
    this.surroundings = new Float32Array(height * width * 9 * this.inputs);
    this.output = new Float32Array(height * width * outputs);
  }

  run(input) {
    const { inputs, height, width, surroundings } = this;
    let to = 0;
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        for (let place = 0; place < 9; place++, to += inputs) {
          const [row, column] = [y + Math.floor(place / 3) - 1, x + (place % 3) - 1];
          if (row < 0 || row >= height || column < 0 || column >= width) continue;
          const from = (row * width + column) * inputs;
          for (let i = 0; i < inputs; i++) surroundings[to + i] = input[from + i];
        }
      }
    }
    multiply(surroundings, this.weight, this.bias, this.output);
    return this.output;
  }
}

const KINDS = { linear: Linear, convolution: Convolution, expand: Expand };

export class Decoder {
  /**
   * @param {{kind: string, weight: Float32Array, bias: Float32Array, activation: string,
   *   before: string, grid: number[] | null, factor: number, addsPrevious: boolean}[]} layers As
   *   described by
   *   `Layer` in ae_cli/models/autoencoder.py.
   * @param {object | null} line A linear layer from the latent to an image, which is added.
   * @param {number[]} shape Channels, height and width of the image.
   */
  constructor(layers, line, shape) {
    this.steps = layers.map(({ kind, activation, before, addsPrevious }, k) => ({
      layer: new KINDS[kind](layers[k]),
      activate: ACTIVATIONS[activation],
      activateInput: before === "identity" ? null : ACTIVATIONS[before],
      addsPrevious,
    }));
    const { weight, bias } = layers[0];
    this.latent = new Float32Array(weight.length / bias.length);
    this.line = line;
    this.shape = shape;
    this.pixels = new Float32Array(shape[0] * shape[1] * shape[2]);
    // How far apart neighbouring channels, rows and columns are in the output of the last layer:
    // an image, or a grid of vectors with a channel in each element.
    const [channels, height, width] = shape;
    const { kind, grid, factor } = layers.at(-1);
    this.strides =
      kind === "linear" ? [height * width, width, 1] : [1, grid[1] * factor * channels, channels];
  }

  /**
   * Decode a latent to an image.
   * @param {ArrayLike<number>} z The latent.
   * @returns {Float32Array} The pixels in [0, 1], channel by channel and row by row. The next call
   *   overwrites them.
   */
  decode(z) {
    this.latent.set(z);
    let [before, input] = [null, this.latent];
    for (const { layer, activate, activateInput, addsPrevious } of this.steps) {
      let activated = input;
      if (activateInput) {
        activated = input.slice(); // the input itself may be added later
        activateInput(activated);
      }
      const output = layer.run(activated);
      activate(output);
      if (addsPrevious) for (let i = 0; i < output.length; i++) output[i] += before[i];
      [before, input] = [input, output];
    }
    if (this.line) multiply(this.latent, this.line.weight, this.line.bias, this.pixels);
    else this.pixels.fill(0);
    this.finish(input);
    return this.pixels;
  }

  /** Add the last layer's output to the pixels, without what lies outside, and limit them to [0, 1]. */
  finish(output) {
    const { pixels, strides } = this;
    const [channels, height, width] = this.shape;
    let to = 0;
    for (let c = 0; c < channels; c++) {
      for (let y = 0; y < height; y++) {
        let from = c * strides[0] + y * strides[1];
        for (let x = 0; x < width; x++, to++, from += strides[2]) {
          const value = pixels[to] + output[from];
          pixels[to] = value < 0 ? 0 : value > 1 ? 1 : value;
        }
      }
    }
  }
}
