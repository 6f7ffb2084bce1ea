// The box around the cloud.

/** Draw the three walls of the box behind the cloud, with their grids and numbers. */
export function drawBox(cloud, directions) {
  const { context, half } = cloud;
  const near = directions[2];
  // For each axis, the wall that is farther away.
  const far = near.map((value, j) => (value > 0 ? -half[j] : half[j]));
  const ticks = [0, 1, 2].map((j) => findTicks(cloud, j));
  context.lineWidth = 1;
  context.strokeStyle = cloud.faint;
  const line = (from, to) => {
    const [a, b] = [cloud.locate(from, directions), cloud.locate(to, directions)];
    context.beginPath();
    context.moveTo(a.x, a.y);
    context.lineTo(b.x, b.y);
    context.stroke();
  };
  for (let wall = 0; wall < 3; wall++) {
    if (cloud.flat && wall < 2) continue;
    const [j, k] = [0, 1, 2].filter((axis) => axis !== wall);
    for (const [across, along] of [[j, k], [k, j]]) {
      const lines = [-half[across], half[across], ...ticks[across].map(({ at }) => at)];
      for (const at of lines) {
        const from = [];
        from[wall] = cloud.flat ? 0 : far[wall];
        from[across] = at;
        from[along] = -half[along];
        const to = [...from];
        to[along] = half[along];
        line(from, to);
      }
    }
  }
  context.fillStyle = cloud.ink;
  context.font = "12px system-ui, sans-serif";
  context.textBaseline = "middle";
  for (let j = 0; j < (cloud.flat ? 2 : 3); j++) drawNumbers(cloud, j, far, ticks[j], directions);
}

/** Draw the numbers along axis `j`, at the edge of the walls that is farthest from the centre. */
function drawNumbers(cloud, j, far, ticks, directions) {
  const { context, half } = cloud;
  if (j === 1 && cloud.projection.rows.length === 1) return; // this axis is only the order of the images
  const others = [0, 1, 2].filter((axis) => axis !== j);
  const middle = cloud.locate([0, 0, 0], directions);
  // An edge that belongs to exactly one far wall is on the outline. The vertical axis is on the left,
  // the others are below.
  const edges = [];
  for (const signs of cloud.flat ? [[-1, 0]] : [[1, -1], [-1, 1]]) {
    const edge = [0, 0, 0];
    others.forEach((axis, n) => {
      edge[axis] = cloud.flat ? signs[n] * half[axis] : signs[n] * far[axis];
    });
    const place = cloud.locate(edge, directions);
    edges.push({ edge, ...place, rate: j === 2 ? -place.x : place.y });
  }
  const { edge, x, y } = edges.reduce((best, other) => (other.rate > best.rate ? other : best));
  const [dx, dy] = [x - middle.x, y - middle.y];
  const length = Math.hypot(dx, dy) || 1;
  const write = (at, text, distance) => {
    const point = [...edge];
    point[j] = at;
    const place = cloud.locate(point, directions);
    const before = Math.abs(dx) < 0.4 * length ? 0.5 : dx < 0 ? 1 : 0; // share of the text
    const { width } = context.measureText(text);
    const left = place.x + (dx / length) * distance - before * width;
    context.textAlign = "left";
    // On a phone there may be no room beside the box, and then below the numbers.
    const inside = Math.max(0, Math.min(cloud.width - width, left));
    const below = inside === left ? 0 : 22;
    context.fillText(text, inside, place.y + (dy / length) * distance + below);
  };
  for (const { at, text } of ticks) write(at, text, 12);
  const widest = Math.max(0, ...ticks.map(({ text }) => context.measureText(text).width));
  context.font = "600 13px system-ui, sans-serif";
  if (j === 2 || (cloud.flat && j === 1)) {
    // Above the end, as there is seldom room for a name at the side.
    const end = [...edge];
    end[j] = half[j];
    const place = cloud.locate(end, directions);
    context.textAlign = "center";
    context.fillText(cloud.projection.names[j], place.x, place.y - 16);
  } else {
    write(0, cloud.projection.names[j], 28 + (widest * Math.abs(dx)) / length);
  }
  context.font = "12px system-ui, sans-serif";
}

/** Find round numbers on axis `j`, with their places in half-widths from the centre. */
function findTicks({ scales, center, half }, j) {
  const scale = scales[j];
  const low = center[j] - half[j] * scale;
  const high = center[j] + half[j] * scale;
  if (half[j] < 0.1) return [];
  const rough = (high - low) / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
  const ticks = [];
  for (let n = Math.ceil(low / step); n * step <= high; n++) {
    const value = n * step;
    const large = Math.abs(value) >= 1e6;
    const text = String(large ? value.toExponential(2) : Number(value.toPrecision(6)));
    ticks.push({ at: (value - center[j]) / scale, text: text.replaceAll("-", "−") });
  }
  return ticks;
}
