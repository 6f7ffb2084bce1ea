{
  const figure = JSON.parse(document.getElementById("figure").textContent);
  const eye = figure.layout.scene?.camera.eye;
  if (eye) {
    // A window that is higher than wide shows less at the sides: step back.
    const back = Math.max(1, (0.95 * window.innerHeight) / window.innerWidth);
    for (const side of ["x", "y", "z"]) eye[side] *= back;
  }
  // Beside the plot of a phone there is no room.
  if (window.innerWidth < 600 && figure.data.length <= 20) {
    Object.assign(figure.layout.legend, { orientation: "h", y: 0, yanchor: "top" });
    figure.layout.margin.b = 90;
  }
  // Plotly's button that uploads the figure has no place in a page that keeps to itself.
  const options = { responsive: true, displaylogo: false, showSendToCloud: false };
  window.Plotly.newPlot("plot", figure.data, figure.layout, options);
}
