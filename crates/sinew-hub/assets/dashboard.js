// The live chart: all points so far come as one event, then each new one.
"use strict";

const POINTS_MAX = 300;

function start(place) {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const axis = { stroke: colour("--faint"), grid: { stroke: colour("--line"), width: 1 } };
  const line = (label, stroke) => ({ label, stroke, width: 2, fill: stroke + "22" });
  const size = () => ({ width: place.clientWidth - 16, height: 240 });
  const data = [[], [], []];
  const chart = new uPlot(
    {
      ...size(),
      scales: { y: { range: (_, __, max) => [0, Math.max(max, 5)] } },
      axes: [axis, axis],
      series: [{}, line("look-ups", colour("--faint")), line("hits", colour("--good"))],
    },
    data,
    place,
  );
  addEventListener("resize", () => chart.setSize(size()));

  const events = new EventSource(place.dataset.events);
  // The server sends everything again after a reconnect.
  events.addEventListener("open", () => data.forEach((column) => (column.length = 0)));
  events.addEventListener("points", (event) => {
    for (const point of JSON.parse(event.data)) {
      data[0].push(point.at);
      data[1].push(point.requests);
      data[2].push(point.hits);
    }
    data.forEach((column) => column.splice(0, column.length - POINTS_MAX));
    chart.setData(data);
    place.dataset.points = data[0].length;
  });
}

const place = document.getElementById("chart");
if (place) start(place);
