// From the latent space to the axes that are drawn.

/** An affine map from the latent space to the two or three axes that are drawn. */
export class Projection {
  /**
   * @param {number[][]} rows Two or three directions of length 1, each orthogonal to the others; or
   *   one, where the latent space has one dimension.
   * @param {string[]} names Of the axes.
   * @param {ArrayLike<number>} [origin] The latent at 0; the latent space's own origin by default.
   */
  constructor(rows, names, origin) {
    Object.assign(this, { rows, names, origin });
  }

  /** Where a latent is. */
  project(z) {
    const from = (k) => z[k] - (this.origin?.[k] ?? 0);
    return this.rows.map((row) => row.reduce((sum, value, k) => sum + value * from(k), 0));
  }

  /** The latent to which a step along the axes leads. */
  walk(z, step) {
    const change = (k) => this.rows.reduce((sum, row, j) => sum + row[k] * step[j], 0);
    return Float32Array.from(z, (value, k) => value + change(k));
  }
}
