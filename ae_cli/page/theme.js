// The light or dark theme.

import { element } from "./dom.js";

/** The page's theme, `light` or `dark`. */
export const currentTheme = () => document.documentElement.dataset.theme;

/**
 * Follow the browser's theme until the user switches it by the button `theme`.
 * @param {() => void} repaint Called after each change, and at once.
 */
export function followTheme(repaint) {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const setTheme = (theme) => {
    document.documentElement.dataset.theme = theme;
    element("theme").textContent = theme === "dark" ? "Light" : "Dark";
    repaint();
  };
  const follow = () => setTheme(dark.matches ? "dark" : "light");
  element("theme").addEventListener("click", () => {
    dark.removeEventListener("change", follow);
    setTheme(currentTheme() === "dark" ? "light" : "dark");
  });
  dark.addEventListener("change", follow);
  follow();
}
