// Helpers for elements and numbers.

/** Find an element by its id. */
export const element = (id) => document.getElementById(id);

/** Make an element. Texts always become text nodes, never HTML. */
export function make(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

/** The number nearest to `value` from `low` to `high`. */
export const clamp = (value, low, high) => Math.max(low, Math.min(high, value));

/** Format a number with three digits. */
export function write(x) {
  const plain = x === 0 || (Math.abs(x) >= 0.001 && Math.abs(x) < 1000);
  return (plain ? x.toPrecision(3) : x.toExponential(2)).replaceAll("-", "−");
}

/** The end of a file's name without its ending, by which names mostly differ: whole words of it. */
export function abbreviate(name, longest) {
  const stem = name.replace(/^.*\//, "").replace(/\.\w+$/, "");
  if (stem.length <= longest) return stem;
  const end = stem.slice(1 - longest);
  return `…${end.replace(/^[^-_ ]*[-_ ](?=.{3})/, "")}`;
}

/** Let the browser save a CSV table as a file. */
export function save(name, text) {
  const address = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  make("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}
