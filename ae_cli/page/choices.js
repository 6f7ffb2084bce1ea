// The choice of axes and colours for the cloud.

import { element, make, write } from "./dom.js";
import { showGroups, showRamp } from "./legend.js";
import { Projection } from "./projection.js";
import { currentTheme } from "./theme.js";

/** Offer a choice of axes, and show the cloud along them. */
export function offerAxes(space, cloud) {
  const names = Array.from({ length: space.dimensions }, (_, k) => `z${k + 1}`);
  const unit = (k) => names.map((_, j) => Number(j === k));
  const along = (places) => new Projection(places.map(unit), places.map((k) => names[k]));
  const lists = space.axes.map((place) => {
    const options = names.map((textContent, value) => make("option", { value, textContent }));
    const list = make("select", { ariaLabel: "Latent to draw" }, ...options);
    list.value = place;
    return list;
  });
  const choices = [
    {
      title: "latents",
      make: () => along(lists.map((list) => Number(list.value))),
      note:
        space.axes.length < space.dimensions
          ? `The axes are ${space.axes.length} of ${space.dimensions} latents: the others are not shown.`
          : "",
    },
  ];
  if (space.pca) choices.push(describeComponents(space));
  const select = element("axes");
  choices.forEach(({ title }, n) => select.append(make("option", { value: n, textContent: title })));
  element("axes-label").hidden = choices.length < 2;
  element("triple").append(...lists);

  const show = () => {
    const n = Number(select.value);
    element("triple").hidden = choices.length < 2 || n !== 0;
    cloud.setProjection(choices[n].make());
    element("axes-note").textContent = choices[n].note;
    const dragging = cloud.flat ? "Shift" : "Turn";
    element("turn").textContent = dragging;
    const press = matchMedia("(hover: none)").matches ? "tap" : "click";
    element("hint").textContent =
      `Drag to ${dragging.toLowerCase()} · ${press} a point to go there · drag the ring to walk`;
  };
  let before = space.axes.map(String);
  lists.forEach((list, j) => {
    list.addEventListener("change", () => {
      // Each latent is on one axis only: if another axis has it, they swap.
      const other = lists.find((another, k) => k !== j && another.value === list.value);
      if (other) other.value = before[j];
      before = lists.map(({ value }) => value);
      show();
    });
  });
  select.addEventListener("change", show);
  select.value = space.pca && !space.chosen ? 1 : 0;
  show();
}

function describeComponents({ dimensions, pca: { mean, components, shares } }) {
  const percent = shares.map((share) => Math.round(100 * share));
  const names = percent.map((share, j) => `PC${j + 1} (${share}%)`);
  const kept = Math.round(100 * shares.reduce((sum, share) => sum + share, 0));
  return {
    title: "PCA of the latents",
    make: () => new Projection(components, names, mean),
    note:
      "The axes are not latents but the first three principal components (PCA) of all " +
      `${dimensions}: they keep ${kept}% of the latents' variance, and points that are far apart ` +
      "may appear close together.",
  };
}

/**
 * Offer a choice of what to colour points by.
 * @returns {() => void} Shows the colours and their legend in the page's theme.
 */
export function offerColors(space, cloud) {
  const splits = space.splitNames.length > 1 || space.color === "split"; // also a single split, if --color asks for it
  const there = { label: space.labels, error: true, split: splits };
  const select = element("color");
  for (const name of Object.keys(there).filter((key) => there[key])) {
    select.append(make("option", { value: name, textContent: name }));
  }
  const hidden = { label: new Set(), split: new Set() }; // positions of groups
  const show = {
    error: () => colorByError(space, cloud),
    label: () => colorByGroup(cloud, space.labels, space.classes, space.classColors, hidden.label),
    split: () => colorByGroup(cloud, space.splits, space.splitNames, space.splitColors, hidden.split),
  };
  const showChosen = () => show[select.value]();
  select.addEventListener("change", showChosen);
  select.value = space.color;
  return showChosen;
}

function colorByError(space, cloud) {
  const palette = space.errorColors[currentTheme()];
  const last = space.count - 1;
  // By rank: by error, a few large errors would leave one colour for all others.
  const level = (i) => Math.floor((1 - space.rank[i] / (last || 1)) * (palette.length - 1));
  cloud.setColors(palette, level);
  cloud.hide(new Set());
  const at = (share) => write(space.errors[space.byError[Math.round((1 - share) * last)]]);
  showRamp(palette, `error ${at(0)}`, `${at(1)}, by rank: the median is ${at(0.5)}`);
}

function colorByGroup(cloud, groups, names, palette, hidden) {
  showGroups(names, palette, hidden, () => cloud.hide(hidden));
  cloud.setColors(palette, (i) => groups[i]);
  cloud.hide(hidden);
}
