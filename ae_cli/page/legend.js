// The legend below the points: their groups, or the scale of their colours.

import { element, make } from "./dom.js";

const MOST_LISTED = 500; // groups; further ones are not listed

/**
 * List groups, which the user can hide.
 * @param {string[]} names
 * @param {string[]} palette Their colours.
 * @param {Set<number>} hidden The positions of those that are hidden.
 * @param {() => void} change Called when `hidden` has changed.
 */
export function showGroups(names, palette, hidden, change) {
  const buttons = names.slice(0, MOST_LISTED).map((name, position) => {
    const dot = make("span", { className: "dot" });
    dot.style.background = palette[position];
    const text = make("span", { textContent: name });
    const button = make("button", { type: "button", title: `Show or hide ${name}` }, dot, text);
    button.setAttribute("aria-pressed", String(!hidden.has(position)));
    button.addEventListener("click", () => {
      const shown = hidden.delete(position);
      if (!shown) hidden.add(position);
      button.setAttribute("aria-pressed", String(shown));
      change();
    });
    return button;
  });
  const rest = names.length - buttons.length;
  const more = rest ? [make("span", { textContent: `and ${rest} more` })] : [];
  element("legend").replaceChildren(...buttons, ...more);
}

/** Show a scale of colours between texts about its lowest and its highest value. */
export function showRamp(palette, low, high) {
  const bar = make("canvas", { width: palette.length, height: 1, className: "ramp" });
  const context = bar.getContext("2d");
  palette.forEach((color, x) => {
    context.fillStyle = color;
    context.fillRect(x, 0, 1, 1);
  });
  const [before, after] = [low, high].map((textContent) => make("span", { textContent }));
  element("legend").replaceChildren(before, bar, after);
}
