{
  const figure = JSON.parse(document.getElementById("figure").textContent);
  const eye = figure.layout.scene?.camera.eye;
  if (eye) {
    // A window that is higher than wide shows less at the sides: step back.
    const back = Math.max(1, (0.95 * window.innerHeight) / window.innerWidth);
    for (const side of ["x", "y", "z"]) eye[side] *= back;
  }
  // Plotly's button that uploads the figure has no place in a page that keeps to itself.
  const options = { responsive: true, displaylogo: false, showSendToCloud: false };
  window.Plotly.newPlot("plot", figure.data, figure.layout, options);
}
