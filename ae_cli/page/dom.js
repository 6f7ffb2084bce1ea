// Elements of the page, what is written in them, and numbers.

/** The element with an id. */
export const element = (id) => document.getElementById(id);

/** Make an element. Texts become text nodes and never HTML, whatever is in them. */
export function make(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

/** The nearest number from `low` to `high`. */
export const clamp = (value, low, high) => Math.max(low, Math.min(high, value));

/** Write a number in three digits. */
export function write(x) {
  const plain = x === 0 || (Math.abs(x) >= 0.001 && Math.abs(x) < 1000);
  return (plain ? x.toPrecision(3) : x.toExponential(2)).replaceAll("-", "−");
}
