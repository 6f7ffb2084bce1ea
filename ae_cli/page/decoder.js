// The trained decoder: from a latent to the pixels of an image, layer by layer.

// The error function to within 2e-7: Abramowitz and Stegun, Handbook of Mathematical Functions,
// 7.1.26.
function erf(x) {
  const t = 1 / (1 + 0.3275911 * Math.abs(x));
  const series =
    t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
  return Math.sign(x) * (1 - series * Math.exp(-x * x));
}

const sigmoid = (x) => 1 / (1 + Math.exp(-x));

const ACTIVATIONS = {
  tanh: Math.tanh,
  relu: (x) => Math.max(0, x),
  silu: (x) => x * sigmoid(x),
  gelu: (x) => (x / 2) * (1 + erf(x / Math.SQRT2)),
  sigmoid,
  identity: (x) => x,
};

export class Decoder {
  /**
   * @param {{weight: Float32Array, bias: Float32Array, activation: string}[]} layers Linear layers.
   *   Weights are (outputs, inputs), row by row; the activation is the function applied afterwards.
   */
  constructor(layers) {
    this.layers = layers;
    this.outputs = layers.map((layer) => new Float32Array(layer.bias.length));
  }

  /**
   * Decode a latent to an image.
   * @param {ArrayLike<number>} z The latent.
   * @returns {Float32Array} The pixels in [0, 1], channel by channel and row by row. The next call
   *   overwrites them.
   */
  decode(z) {
    let input = z;
    this.layers.forEach(({ weight, bias, activation }, k) => {
      const output = this.outputs[k];
      const activate = ACTIVATIONS[activation];
      for (let i = 0, w = 0; i < output.length; i++) {
        let sum = bias[i];
        for (let j = 0; j < input.length; j++) sum += weight[w++] * input[j];
        output[i] = activate(sum);
      }
      input = output;
    });
    return input;
  }
}
