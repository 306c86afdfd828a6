// Live charts: all points so far come as one event, then each new one.
"use strict";

const POINTS_MAX = 300;
// The share of one second's look-ups jumps about: so many seconds count together.
const SHARE_SECONDS = 10;
// Until a stream that was refused is asked for again.
const ASK_AGAIN_MS = 3000;
// Between two looks at what was counted by the minute and by the day.
const COUNTED_EVERY_MS = 5000;

const hits = (point) => point.local + point.redis + point.stale;
const requests = (point) => hits(point) + point.misses;
const sum = (points, count) => points.reduce((total, point) => total + count(point), 0);

// What a chart draws: its lines, and their values after each point. `recent` ends with the point.
const CHARTS = {
  "look-ups": {
    lines: [["look-ups", "--faint"], ["hits", "--good"]],
    values: (recent) => [requests(recent.at(-1)), hits(recent.at(-1))],
    most: 5,
  },
  loads: {
    lines: [["loads", "--faint"], ["stale", "--stale"]],
    values: (recent) => [recent.at(-1).loads, recent.at(-1).stale],
    most: 5,
  },
  decisions: {
    lines: [["admitted", "--good"], ["denied", "--bad"], ["would be denied", "--stale"], ["without Redis", "--redis"]],
    values: (recent) => {
      const { admitted, denied, shadow_denied, degraded } = recent.at(-1);
      return [admitted, denied, shadow_denied, degraded];
    },
    most: 5,
  },
  lag: {
    lines: [["not finished", "--faint"], ["oldest, s", "--bad"]],
    values: (recent) => [recent.at(-1).behind, recent.at(-1).oldest_s],
    most: 5,
  },
  ended: {
    lines: [["done", "--good"], ["failed", "--stale"], ["dead", "--bad"]],
    values: (recent) => [recent.at(-1).done, recent.at(-1).failed, recent.at(-1).dead],
    most: 5,
  },
  levels: {
    // Each is drawn over the one before, up to the sum of itself and those after it.
    lines: [["miss", "--miss"], ["stale", "--stale"], ["Redis", "--redis"], ["this process", "--local"]],
    values: (recent) => {
      const all = sum(recent, requests);
      const share = (count) => (all ? (100 * sum(recent, count)) / all : null);
      return [share((p) => p.misses), share((p) => p.stale), share((p) => p.redis), share((p) => p.local)];
    },
    stacked: true,
  },
};

// From each value to the sum of itself and those after it.
function stack(values) {
  return values.map((value, index) => (value === null ? null : values.slice(index).reduce((a, b) => a + b)));
}

function start(place) {
  const kind = CHARTS[place.dataset.chart];
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const axis = { stroke: colour("--faint"), grid: { stroke: colour("--line"), width: 1 } };
  const data = [[], ...kind.lines.map(() => [])];
  // As the legend says them: a stacked chart draws sums.
  const said = kind.lines.map(() => []);
  let recent = [];
  const line = ([label, name], index) => ({
    label,
    stroke: colour(name),
    width: kind.stacked ? 0 : 2,
    fill: kind.stacked ? colour(name) : colour(name) + "22",
    points: { show: false },
    value: (_chart, _value, _series, at) => {
      const value = at === null ? null : said[index][at];
      return value === null || value === undefined ? "–" : kind.stacked ? value.toFixed(1) + " %" : value;
    },
  });
  const range = kind.stacked ? [0, 100] : (_chart, _min, max) => [0, Math.max(max, kind.most)];
  const size = () => ({ width: place.clientWidth - 16, height: 240 });
  const chart = new uPlot(
    { ...size(), scales: { y: { range } }, axes: [axis, axis], series: [{}, ...kind.lines.map(line)] },
    data,
    place,
  );
  addEventListener("resize", () => chart.setSize(size()));
  const columns = [...data, ...said];
  // Where a stream tells of many, each has its points under its name.
  const { of: name } = place.dataset;
  const own = (points) =>
    name === undefined ? points : points.filter(({ of }) => Object.hasOwn(of, name)).map(({ at, of }) => ({ at, ...of[name] }));

  return {
    clear() {
      columns.forEach((column) => (column.length = 0));
      recent = [];
    },
    add(points) {
      for (const point of own(points)) {
        // One may come twice: as the last so far, and as the first new one.
        if (point.at <= data[0].at(-1)) continue;
        recent = [...recent, point].slice(-SHARE_SECONDS);
        const values = kind.values(recent);
        const drawn = kind.stacked ? stack(values) : values;
        data[0].push(point.at);
        values.forEach((value, index) => said[index].push(value));
        drawn.forEach((value, index) => data[index + 1].push(value));
      }
      columns.forEach((column) => column.splice(0, column.length - POINTS_MAX));
      chart.setData(data);
      place.dataset.points = data[0].length;
    },
  };
}

// A browser connects again where a stream ends, and gives up where it is refused, as while the store is away.
function listen(url, heard) {
  const events = new EventSource(url);
  for (const [name, hear] of Object.entries(heard)) events.addEventListener(name, hear);
  events.addEventListener("error", () => {
    if (events.readyState === EventSource.CLOSED) setTimeout(listen, ASK_AGAIN_MS, url, heard);
  });
}

const places = [...document.querySelectorAll("[data-events]")];
for (const url of new Set(places.map((place) => place.dataset.events))) {
  const charts = places.filter((place) => place.dataset.events === url).map(start);
  listen(url, {
    // The server sends everything again after a reconnect.
    open: () => charts.forEach((chart) => chart.clear()),
    points: (event) => {
      const points = JSON.parse(event.data);
      charts.forEach((chart) => chart.add(points));
    },
  });
}

// What was counted comes whole each time.
async function follow(place, chart) {
  try {
    const reply = await fetch(place.dataset.history, { headers: { accept: "application/json" } });
    // A refusal is JSON, too.
    if (!reply.ok) throw new Error(reply.statusText);
    const points = await reply.json();
    chart.clear();
    chart.add(points);
  } catch {
    // While the store is away, or nobody is signed in any more, the chart stays as it is.
  }
  setTimeout(follow, COUNTED_EVERY_MS, place, chart);
}

for (const place of document.querySelectorAll("[data-history]")) follow(place, start(place));

// What is under a finger is not replaced: it would not be what was pressed.
let pressed = null;
document.addEventListener("pointerdown", ({ target }) => (pressed = target), true);
for (const end of ["pointerup", "pointercancel"]) {
  document.addEventListener(end, () => setTimeout(() => (pressed = null)), true);
}
document.addEventListener("htmx:beforeSwap", ({ detail }) => {
  const isByTheClock = detail.requestConfig.elt.getAttribute("hx-trigger")?.includes("every ");
  if (isByTheClock && pressed && detail.target.contains(pressed)) detail.shouldSwap = false;
});

// Pages that are told of changes ask again for what they show.
for (const place of document.querySelectorAll("[data-changes]")) {
  let seen = place.dataset.revision;
  listen(place.dataset.changes, {
    flags: (event) => {
      // The first one, and one after a reconnect, may be of what is shown already.
      if (event.data === seen) return;
      seen = event.data;
      htmx.trigger(document.body, "flags-changed");
    },
  });
}

// A slider and the number beside it say the same.
document.addEventListener("input", ({ target }) => {
  const twin = target.dataset?.twin && document.getElementById(target.dataset.twin);
  if (twin) twin.value = target.value || 0;
});

// A second thought that is dropped leaves what was typed as it is.
document.addEventListener("click", ({ target }) => {
  const button = target.closest?.("[data-drop]");
  if (!button) return;
  button.closest(".confirm").remove();
  document.getElementById(button.dataset.drop)?.focus();
});
