// The marks in the cloud: the current point, the ends of the path, and highlighted points.

const PLANE = 0.45; // half the side of the plane to walk in, in half-widths

/** Draw the plane in which a drag moves the current point: it faces the eye. */
export function drawPlane(cloud, { x, y, scale }) {
  const { context } = cloud;
  const side = PLANE * scale;
  context.fillStyle = context.strokeStyle = cloud.accent;
  context.lineWidth = 1;
  context.globalAlpha = 0.1;
  context.fillRect(x - side, y - side, 2 * side, 2 * side);
  context.globalAlpha = 0.5;
  for (let n = -3; n <= 3; n++) {
    const at = (n * side) / 3;
    context.beginPath();
    context.moveTo(x - side, y + at);
    context.lineTo(x + side, y + at);
    context.moveTo(x + at, y - side);
    context.lineTo(x + at, y + side);
    context.stroke();
  }
  context.globalAlpha = 1;
}

/** Draw the current point, the ends of the path, search results, and the hovered point. */
export function drawMarks(cloud, here, directions) {
  const { context } = cloud;
  const ring = (x, y, radius, color, width) => {
    for (const [style, extra] of [[cloud.background, 3], [color, 0]]) {
      context.strokeStyle = style;
      context.lineWidth = width + extra;
      context.beginPath();
      context.arc(x, y, radius, 0, 2 * Math.PI);
      context.stroke();
    }
  };
  for (const i of cloud.marked) ring(cloud.x[i], cloud.y[i], 7, cloud.ink, 1.5);
  if (cloud.hovered >= 0) ring(cloud.x[cloud.hovered], cloud.y[cloud.hovered], 8, cloud.ink, 2);
  const ends = cloud.ends.map(({ z }) => cloud.locate(cloud.place(z), directions));
  if (ends.length === 2) {
    context.strokeStyle = cloud.ink;
    context.lineWidth = 1.5;
    context.setLineDash([4, 4]);
    context.beginPath();
    context.moveTo(ends[0].x, ends[0].y);
    context.lineTo(ends[1].x, ends[1].y);
    context.stroke();
    context.setLineDash([]);
  }
  ends.forEach(({ x, y }, n) => {
    context.fillStyle = cloud.ink;
    context.beginPath();
    context.arc(x, y, 9, 0, 2 * Math.PI);
    context.fill();
    context.fillStyle = cloud.background;
    context.font = "600 11px system-ui, sans-serif";
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.fillText("AB"[n], x, y + 0.5);
  });
  ring(here.x, here.y, 11, cloud.accent, 3);
  context.fillStyle = cloud.accent;
  context.beginPath();
  context.arc(here.x, here.y, 3, 0, 2 * Math.PI);
  context.fill();
}
