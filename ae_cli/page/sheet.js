// Images side by side in one picture.

export class Sheet {
  /** @param {{source: string, columns: number, height: number, width: number}} data */
  constructor(data) {
    Object.assign(this, data);
  }

  /** Decode the picture, which the other methods need. */
  async read() {
    const picture = new Image();
    picture.src = this.source;
    await picture.decode();
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [picture.naturalWidth, picture.naturalHeight];
    this.context = canvas.getContext("2d", { willReadFrequently: true });
    this.context.drawImage(picture, 0, 0);
    this.source = null; // megabytes of text that are not needed any more
  }

  /** Image `i`, as ImageData. */
  image(i) {
    const { columns, width, height } = this;
    const [column, row] = [i % columns, Math.floor(i / columns)];
    return this.context.getImageData(column * width, row * height, width, height);
  }
}
