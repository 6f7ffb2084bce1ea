// Numbers packed as base64, in little-endian order, like the memory of every browser's machine.

export function unpack(Kind, text) {
  const characters = atob(text);
  const bytes = new Uint8Array(characters.length);
  // A loop, as `Uint8Array.from` would take a second for a large decoder.
  for (let i = 0; i < bytes.length; i++) bytes[i] = characters.charCodeAt(i);
  return new Kind(bytes.buffer);
}

// Half precision (IEEE 754 binary16), which not every browser has arrays for.
export function fromHalf(halves) {
  // The bits of a float32 that is too small by a factor, since its exponents have another bias.
  const bits = new Uint32Array(halves.length);
  for (let i = 0; i < bits.length; i++) {
    bits[i] = ((halves[i] & 0x8000) << 16) | ((halves[i] & 0x7fff) << 13);
  }
  const values = new Float32Array(bits.buffer);
  for (let i = 0; i < values.length; i++) values[i] *= 2 ** (127 - 15);
  return values;
}
