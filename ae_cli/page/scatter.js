{
  const figure = JSON.parse(document.getElementById("figure").textContent);
  const eye = figure.layout.scene?.camera.eye;
  if (eye) {
    // A narrow window shows less at the sides: move the eye back.
    const back = Math.max(1, (0.95 * window.innerHeight) / window.innerWidth);
    for (const side of ["x", "y", "z"]) eye[side] *= back;
  }
  // On a phone there is no room beside the plot.
  if (window.innerWidth < 600 && figure.data.length <= 20) {
    Object.assign(figure.layout.legend, { orientation: "h", y: 0, yanchor: "top" });
    figure.layout.margin.b = 90;
  }
  // Without Plotly's button that uploads the figure, since the page works offline.
  const options = { responsive: true, displaylogo: false, showSendToCloud: false };
  window.Plotly.newPlot("plot", figure.data, figure.layout, options);
}
