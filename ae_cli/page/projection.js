// The map from the latent space to the axes of the plot.

/** An affine map from the latent space to the two or three axes of the plot. */
export class Projection {
  /**
   * @param {number[][]} rows Two or three orthonormal directions; or one, if the latent space has one
   *   dimension.
   * @param {string[]} names The names of the axes.
   * @param {ArrayLike<number>} [origin] The latent at 0; by default the origin of the latent space.
   */
  constructor(rows, names, origin) {
    Object.assign(this, { rows, names, origin });
  }

  /** The position of a latent on the axes. */
  project(z) {
    const from = (k) => z[k] - (this.origin?.[k] ?? 0);
    return this.rows.map((row) => row.reduce((sum, value, k) => sum + value * from(k), 0));
  }

  /** The latent after a step along the axes. */
  walk(z, step) {
    const change = (k) => this.rows.reduce((sum, row, j) => sum + row[k] * step[j], 0);
    return Float32Array.from(z, (value, k) => value + change(k));
  }
}
