// Mouse, touch and keyboard control of the cloud.

import { clamp } from "./dom.js";

const CLICK = 5; // pixels that a pointer may move during a click
const RING = 14; // pixels from the ring within which a drag moves it; twice that for a finger

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** Let the user turn, zoom, shift, hover over and walk through a cloud. */
export function followGestures(cloud) {
  const { canvas } = cloud;
  const pointers = new Map(); // id → position, of each finger or the mouse
  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  const spread = () => {
    const [a, b] = [...pointers.values()];
    return Math.hypot(a[0] - b[0], a[1] - b[1]) || 1;
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button) return; // only the first button of a mouse
    canvas.setPointerCapture(event.pointerId);
    const [x, y] = at(event);
    pointers.set(event.pointerId, [x, y]);
    const here = cloud.here();
    const reach = event.pointerType === "touch" ? 2 * RING : RING;
    const onRing = Math.hypot(here.x - x, here.y - y) < reach;
    const fingers = pointers.size > 1 ? spread() : 0;
    const walks = !fingers && (cloud.walking || onRing);
    cloud.drag = { from: [x, y], walks, moved: fingers > 0, spread: fingers };
    cloud.hover(-1);
  });
  canvas.addEventListener("pointermove", (event) => {
    const [x, y] = at(event);
    const before = pointers.get(event.pointerId);
    if (!before) {
      cloud.hover(cloud.pointAt(x, y), x, y);
      return;
    }
    cloud.drag.moved ||= Math.hypot(x - cloud.drag.from[0], y - cloud.drag.from[1]) >= CLICK;
    if (!cloud.drag.moved) return; // it may become a click
    pointers.set(event.pointerId, [x, y]);
    const [dx, dy] = [x - before[0], y - before[1]];
    if (pointers.size > 1) {
      const now = spread();
      cloud.view({
        zoom: (cloud.zoom * now) / cloud.drag.spread,
        shift: [cloud.shift[0] + dx / 2, cloud.shift[1] + dy / 2],
      });
      cloud.drag.spread = now;
    } else if (event.shiftKey || (cloud.flat && !cloud.drag.walks)) {
      cloud.view({ shift: [cloud.shift[0] + dx, cloud.shift[1] + dy] });
    } else if (cloud.drag.walks) {
      cloud.walkBy(dx, dy);
    } else {
      cloud.view({ azim: cloud.azim - 0.4 * dx, elev: cloud.elev + 0.4 * dy });
    }
  });
  const end = (event) => {
    if (!pointers.delete(event.pointerId)) return;
    if (pointers.size) return;
    const click = event.type === "pointerup" && !cloud.drag.moved;
    cloud.drag = null;
    cloud.redrawAll();
    if (!click) return;
    const i = cloud.pointAt(...at(event));
    if (i >= 0) cloud.on.pick(i);
  };
  canvas.addEventListener("pointerup", end);
  canvas.addEventListener("pointercancel", end);
  canvas.addEventListener("pointerleave", () => cloud.hover(-1));
  canvas.addEventListener("dblclick", () => cloud.reset());
  canvas.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      const [x, y] = at(event);
      const before = cloud.zoom;
      cloud.view({ zoom: before * Math.exp(-clamp(event.deltaY, -200, 200) / 500) });
      const grown = cloud.zoom / before; // keep what is under the pointer in place
      const [left, top] = [x - cloud.middle[0], y - cloud.middle[1]];
      cloud.view({ shift: [left, top].map((value, c) => value + (cloud.shift[c] - value) * grown) });
    },
    { passive: false },
  );
  canvas.addEventListener("keydown", (event) => {
    const [dx, dy] = ARROWS[event.key] ?? [0, 0];
    if (dx || dy) {
      if (event.shiftKey) cloud.walkBy(8 * dx, 8 * dy);
      else if (cloud.flat) cloud.view({ shift: [cloud.shift[0] - 20 * dx, cloud.shift[1] - 20 * dy] });
      else cloud.view({ azim: cloud.azim - 5 * dx, elev: cloud.elev + 5 * dy });
    } else if (event.key === "+" || event.key === "=") cloud.view({ zoom: cloud.zoom * 1.2 });
    else if (event.key === "-") cloud.view({ zoom: cloud.zoom / 1.2 });
    else if (event.key === "0") cloud.reset();
    else return;
    event.preventDefault();
  });
}
