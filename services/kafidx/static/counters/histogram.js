// Draw the histograms of a counter on a logarithmic scale, with marks at the percentiles.
// Geometry is in attributes and colour is in the style sheet, since the page allows no inline style.
const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 150;
const BASE = 122; // y of the bottom of the columns
const TOP = 44; // y of the top of the columns, below the names of the three percentiles
const NAME_WIDTH = 26;
const SIDE = 20; // space for half of the first and the last label of the axis
const NARROWEST = 260;
const COLUMNS_A_DECADE = 12;

/** Draw each element whose `data-chart` holds a histogram, in its present width, so that texts keep their size. */
export function drawHistograms() {
  for (const element of document.querySelectorAll("[data-chart]")) {
    element.replaceChildren(chart(JSON.parse(element.dataset.chart), Math.max(NARROWEST, element.clientWidth)));
  }
}

// The lower edges of the columns. Their distance is equal on a logarithmic axis, but at least 1 ms, the resolution of the
// counts. Otherwise columns between 2 and 3 ms would seem to be missing.
const EDGES = [
  ...new Set(Array.from({ length: 9 * COLUMNS_A_DECADE }, (_, step) => Math.round(10 ** (step / COLUMNS_A_DECADE)))),
];

/** Add the fine buckets to columns `{from, to, count}` in ms, without `to`. All values below 1 ms are one column. */
export function rebin(buckets) {
  const counts = new Map();
  for (const [lowest, , count] of buckets) {
    const index = EDGES.findLastIndex((edge) => edge <= lowest);
    counts.set(index, (counts.get(index) ?? 0) + count);
  }
  return [...counts]
    .sort(([a], [b]) => a - b)
    .map(([index, count]) => ({ from: EDGES[index] ?? 0, to: EDGES[index + 1], count }));
}

function chart(histogram, width) {
  const columns = rebin(histogram.buckets);
  const svg = make("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", class: "histogram" });
  const title = make("title", {});
  title.textContent = `Histogram of ${histogram.series}: ${histogram.values.toLocaleString("en")} values`;
  svg.append(title);
  const right = width - SIDE;
  const decades = Math.max(3, ...columns.map(({ to }) => Math.log10(to)));
  const zero = 12; // the width of the column of 0 ms, which a logarithmic axis does not have
  const highest = Math.max(1, ...columns.map(({ count }) => count));
  const x = (ms) => (ms < 1 ? SIDE : SIDE + zero + (Math.log10(ms) / decades) * (right - SIDE - zero));

  svg.append(make("line", { x1: SIDE, x2: right, y1: BASE + 0.5, y2: BASE + 0.5, class: "axis" }));
  for (const { from, to, count } of columns) {
    const height = Math.max(1, (count / highest) * (BASE - TOP));
    const size = { x: x(from) + 0.5, y: BASE - height, width: x(to) - x(from) - 1, height };
    const rect = make("rect", { ...size, class: "column" });
    const tip = make("title", {});
    tip.textContent = `${range(from, to)}: ${count.toLocaleString("en")}`;
    rect.append(tip);
    svg.append(rect);
  }
  for (let ms = 1; ms <= 10 ** decades; ms *= 10) {
    svg.append(make("line", { x1: x(ms), x2: x(ms), y1: BASE, y2: BASE + 4, class: "axis" }));
    svg.append(svgText(x(ms), BASE + 17, duration(ms), "tick"));
  }
  // The percentiles are often close, so each name has its own line. Near the right edge the name is left of its mark.
  ["p50", "p95", "p99"].forEach((name, index) => {
    if (!(histogram.values > 0) || !Number.isFinite(histogram[name])) return;
    const at = x(histogram[name]);
    const line = 12 + index * 13;
    const fits = at + NAME_WIDTH < width;
    svg.append(make("line", { x1: at, x2: at, y1: line - 9, y2: BASE, class: "percentile" }));
    svg.append(svgText(at + (fits ? 3 : -3), line, name, "percentile-name", fits ? "start" : "end"));
  });
  return svg;
}

function range(from, to) {
  return to - from <= 1 ? duration(from) : `${duration(from)} to under ${duration(to)}`;
}

/** A duration in a readable unit: 12 ms, 1.5 s, 3 min. */
export function duration(ms) {
  if (ms < 1_000) return `${Math.round(ms * 10) / 10} ms`;
  if (ms < 100_000) return `${Math.round(ms / 100) / 10} s`;
  if (ms < 6_000_000) return `${Math.round(ms / 6_000) / 10} min`;
  return `${Math.round(ms / 360_000) / 10} h`;
}

function svgText(x, y, text, name, anchor = "middle") {
  const element = make("text", { x, y, class: name, "text-anchor": anchor });
  element.textContent = text;
  return element;
}

function make(tag, attributes) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) {
    element.setAttribute(name, typeof value === "number" ? String(Math.round(value * 100) / 100) : value);
  }
  return element;
}
