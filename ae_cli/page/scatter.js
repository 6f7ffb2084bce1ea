// The page: points that Plotly draws in the colours of the page's theme, and their legend.

import { element, make, write } from "./dom.js";
import { showGroups, showRamp } from "./legend.js";
import { currentTheme, followTheme } from "./theme.js";

const NARROW = 1.2; // of a plot that is narrower than this times its height, the sides would be cut off
// Without Plotly's button that uploads the figure, since the page works offline.
const OPTIONS = { responsive: true, displaylogo: false, showSendToCloud: false };

class Scatter {
  /**
   * @param {object} data As written by ae_cli/page/scatter.py.
   * @param {object} figure Plotly's traces, one for each group, and its layout.
   */
  constructor(data, figure) {
    Object.assign(this, { data, figure, plot: element("plot") });
    this.hidden = new Set(); // positions of groups
    this.colors = figure.data.map(({ marker }) => marker.color); // of the groups
    this.flat = !figure.layout.scene;
    element("summary").textContent = data.summary;
    element("hint").textContent = this.flat
      ? "Drag to enlarge a part · double-click to see all"
      : "Drag to turn · scroll or pinch to zoom";
    this.select = element("color");
    for (const name of data.choices) this.select.append(make("option", { textContent: name }));
    this.select.value = data.color;
    this.select.parentElement.hidden = !data.groups.length && !data.errors;
    this.select.addEventListener("change", () => this.show());
    if (!this.flat) this.stepBack();
    followTheme(() => this.show());
  }

  /** Move the eye back if the plot is narrow, since it then shows less at the sides. */
  stepBack() {
    const { eye } = this.figure.layout.scene.camera;
    const back = Math.max(1, (NARROW * this.plot.clientHeight) / this.plot.clientWidth);
    for (const side of ["x", "y", "z"]) eye[side] *= back;
  }

  /** Show the legend of the chosen colours, and draw the points in them. */
  show() {
    const { errors } = this.data;
    if (this.select.value === "error") {
      showRamp(errors.colors[currentTheme()], `error ${write(errors.low)}`, write(errors.high));
    } else {
      showGroups(this.data.groups, this.colors, this.hidden, () => this.draw());
    }
    this.draw();
  }

  draw() {
    const { data, layout } = this.figure;
    const byError = this.select.value === "error";
    data.forEach((trace, position) => {
      trace.visible = byError || !this.hidden.has(position);
      trace.marker.color = byError ? trace.customdata : this.colors[position];
    });
    this.paint(layout);
    window.Plotly.react(this.plot, data, layout, OPTIONS);
  }

  /** Put the colours of the page's theme into the layout. */
  paint(layout) {
    const style = getComputedStyle(this.plot);
    const [ink, muted, line, panel, stage] = ["ink", "muted", "line", "panel", "stage"].map((name) =>
      style.getPropertyValue(`--${name}`).trim(),
    );
    const font = { color: ink, family: style.fontFamily };
    const axes = { color: ink, gridcolor: line, zerolinecolor: line };
    if (!this.flat) Object.assign(axes, { gridwidth: 2, spikecolor: muted });
    layout.paper_bgcolor = layout.plot_bgcolor = stage;
    layout.font = { ...font, size: 12 };
    layout.hoverlabel = { bgcolor: panel, bordercolor: muted, align: "left", font };
    layout.modebar = { bgcolor: "rgba(0,0,0,0)", color: muted, activecolor: ink };
    for (const axis of ["xaxis", "yaxis", "zaxis"]) {
      Object.assign((layout.scene ?? layout)[axis] ?? {}, axes);
    }
    if (this.data.errors) {
      const colors = this.data.errors.colors[currentTheme()];
      layout.coloraxis.colorscale = colors.map((color, n) => [n / (colors.length - 1), color]);
    }
  }
}

const read = (id) => JSON.parse(element(id).textContent);
export const scatter = new Scatter(read("data"), read("figure"));
