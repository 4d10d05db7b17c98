// The layers of a map: circles, markers, grid, scale bar and names.
// The rules of clusters, labels, grid and scale bar are those of maps.py. `tests/browser/test_map.py` compares both.

export const MOST_ZOOM = 18;
const SVG = "http://www.w3.org/2000/svg";
const CIRCUMFERENCE_M = 2 * Math.PI * 6378137;
const CLUSTER_PX = 28;
const LEAST_STEP_PX = 64;
const LETTER_PX = 7.2;
const MORE_PX = 8;
const LABEL_HEIGHT_PX = 16;
const EDGE_PX = 4;
export const MARKER_PX = 15;
const SELECTED = 1.4;
const ALONE = new Set(["search", "self"]);

// On the side of the antimeridian that is closer to the frame's centre, as in maps.py.
function position(frame, { latitude, longitude }) {
  const toEast = ((((longitude - frame.longitude + 180) % 360) + 360) % 360) - 180;
  return [latitude, frame.longitude + toEast];
}

export function drawCircle(leaflet, map, circle, frame) {
  const isSearch = circle.kind === "search";
  return leaflet
    .circle(position(frame, circle), {
      radius: circle.radius_m,
      className: `map-circle map-circle-${circle.kind}`,
      interactive: false,
      weight: isSearch ? 1.5 : 1,
      opacity: isSearch ? 1 : 0.6,
      fillOpacity: isSearch ? 0.1 : 0.07,
      dashArray: isSearch ? "5 4" : null,
    })
    .addTo(map);
}

export function replaceMarkers(leaflet, map, group, data, frame) {
  const isAlone = (marker) => marker.selected || ALONE.has(marker.kind);
  const joining = data.markers.filter((marker) => !isAlone(marker));
  const alone = data.markers.filter(isAlone).sort((a, b) => a.selected - b.selected);
  group.clearLayers();
  for (const members of clusters(joining.map((marker) => map.project(position(frame, marker))))) {
    const markers = members.map((index) => joining[index]);
    if (markers.length === 1) addMarker(leaflet, map, group, frame, markers[0], markers);
    else {
      const title = data.words.cluster.replace("{number}", markers.length);
      addMarker(leaflet, map, group, frame, { ...markers[0], kind: "cluster", title, href: null }, markers);
    }
  }
  for (const marker of alone) addMarker(leaflet, map, group, frame, marker, [marker]);
}

function clusters(points) {
  const found = [];
  points.forEach((point, index) => {
    const near = ([first]) =>
      Math.abs(points[first].x - point.x) < CLUSTER_PX && Math.abs(points[first].y - point.y) < CLUSTER_PX;
    const members = found.find(near);
    if (members) members.push(index);
    else found.push([index]);
  });
  return found;
}

function addMarker(leaflet, map, group, frame, marker, members) {
  const svg = element("svg", { width: 44, height: 44, viewBox: "-22 -22 44 44", focusable: "false" });
  const scaled = marker.selected ? { class: "map-selected", transform: `scale(${SELECTED})` } : {};
  svg.append(element("g", scaled, ...shapes(marker, members)));
  let html = svg;
  if (marker.href) {
    html = document.createElement("a");
    html.href = marker.href;
    html.tabIndex = -1; // the list beside or below the map has the same link
    html.draggable = false;
    html.addEventListener("click", (event) => map.dragging.moved() && event.preventDefault());
    html.append(svg);
  }
  const icon = leaflet.divIcon({ className: "map-icon", html, iconSize: [44, 44], iconAnchor: [22, 22] });
  const isCluster = marker.kind === "cluster";
  const layer = leaflet.marker(position(frame, marker), {
    icon,
    title: marker.title,
    keyboard: false,
    interactive: isCluster || Boolean(marker.href),
    zIndexOffset: marker.selected ? 2000 : ALONE.has(marker.kind) ? 1000 : 0,
  });
  if (isCluster) {
    const bounds = leaflet.latLngBounds(members.map((member) => position(frame, member)));
    layer.on("click", () => map.fitBounds(bounds, { padding: [60, 60], maxZoom: MOST_ZOOM }));
  }
  layer.addTo(group);
  layer.getElement().dataset.kind = marker.kind;
  layer.getElement().setAttribute("aria-hidden", "true");
}

function shapes(marker, members) {
  const halo = (name, attributes) => element(name, { class: "map-halo", ...attributes });
  if (marker.kind === "cluster") {
    const square = { x: -12, y: -12, width: 24, height: 24, rx: 7 };
    const hasMatch = members.some((member) => member.kind === "match");
    const number = element("text", { class: "map-number", y: 4, "text-anchor": "middle" });
    number.textContent = members.length < 100 ? members.length : "99+";
    const drawn = element("rect", { class: `map-square${hasMatch ? " map-has-match" : ""}`, ...square });
    return [halo("rect", { ...square, "stroke-width": 4 }), drawn, number];
  }
  if (marker.kind === "search")
    return [
      halo("circle", { r: 7, "stroke-width": 7 }),
      element("circle", { class: "map-ring", r: 7, "stroke-width": 3 }),
    ];
  if (marker.kind === "self")
    return [halo("circle", { r: 5, "stroke-width": 4 }), element("circle", { class: "map-dot", r: 5 })];
  if (marker.kind === "match")
    return [
      halo("circle", { r: 12, "stroke-width": 6 }),
      element("circle", { class: "map-ring map-match", r: 12, "stroke-width": 2.5 }),
      element("path", { class: "map-diamond", d: "M0-7 7 0 0 7-7 0Z" }),
    ];
  const d = "M0-9 9 0 0 9-9 0Z";
  return [halo("path", { d, "stroke-width": 4 }), element("path", { class: "map-diamond", d })];
}

// Grid, scale bar and names.
export function drawPaper(leaflet, map, box, data, frame, markers, zoomArea) {
  const renderer = leaflet.svg({ pane: "map-paper", padding: 1 });
  const lines = leaflet
    .polyline([], { className: "map-grid", pane: "map-paper", renderer, interactive: false, noClip: true, weight: 1 })
    .addTo(map);
  const names = leaflet.layerGroup().addTo(map);
  const bar = addScale(leaflet, map);
  let step = null;
  const draw = () => {
    // At one zoom the step stays, or the grid would slide over the ground when the map moves to the north or south.
    if (step?.zoom !== map.getZoom()) step = { zoom: map.getZoom(), ...gridStep(map) };
    lines.setLatLngs(gridLines(map, step.px));
    const { px, metres } = gridStep(map);
    bar.show(px, metres);
    const controls = [zoomArea(), [0, map.getSize().y - 48, px + 40, map.getSize().y]];
    replaceNames(leaflet, map, names, box, data, frame, markers, controls);
  };
  draw();
  map.on("moveend resize", draw);
}

function gridStep(map) {
  const world = 256 * 2 ** map.getZoom();
  const metresPerPixel = (CIRCUMFERENCE_M * Math.cos((map.getCenter().lat * Math.PI) / 180)) / world;
  const least = LEAST_STEP_PX * metresPerPixel;
  const power = 10 ** Math.floor(Math.log10(least));
  const metres = ([1, 2, 5].find((factor) => factor * power >= least * (1 - 1e-9)) ?? 10) * power;
  return { metres, px: metres / metresPerPixel };
}

function gridLines(map, step) {
  const { min, max } = map.getPixelBounds();
  const size = max.subtract(min);
  const from = min.subtract(size);
  const to = max.add(size);
  const point = (x, y) => map.unproject([x, y]);
  const lines = [];
  for (let x = Math.ceil(from.x / step) * step; x <= to.x; x += step) lines.push([point(x, from.y), point(x, to.y)]);
  for (let y = Math.ceil(from.y / step) * step; y <= to.y; y += step) lines.push([point(from.x, y), point(to.x, y)]);
  return lines;
}

function addScale(leaflet, map) {
  const control = leaflet.control({ position: "bottomleft" });
  const path = element("path", { class: "map-scale" });
  const text = element("text", { class: "map-name", y: 16, "text-anchor": "middle" });
  control.onAdd = () => {
    const holder = document.createElement("div");
    holder.className = "map-live-scale";
    holder.setAttribute("aria-hidden", "true");
    holder.append(element("svg", { width: 180, height: 30 }, path, text));
    return holder;
  };
  control.addTo(map);
  control.show = (px, metres) => {
    path.setAttribute("d", `M6 19v5h${px.toFixed(1)}v-5`);
    text.setAttribute("x", (6 + px / 2).toFixed(1));
    text.textContent = metres >= 1000 ? `${Math.round(metres / 1000)} km` : `${metres} m`;
  };
  return control;
}

function replaceNames(leaflet, map, group, box, data, frame, markers, controls) {
  group.clearLayers();
  const { x: width, y: height } = map.getSize();
  const taken = markers.getLayers().map((marker) => {
    const { x, y } = map.latLngToContainerPoint(marker.getLatLng());
    const half = MARKER_PX * (marker.options.zIndexOffset === 2000 ? SELECTED : 1);
    return [x - half, y - half, x + half, y + half];
  });
  const attribution = box.querySelector(".map-attribution");
  taken.push([attribution.offsetLeft, attribution.offsetTop, width, height]);
  taken.push(...controls);
  for (const [name, latitude, longitude] of data.names) {
    const at = position(frame, { latitude, longitude });
    const { x, y } = map.latLngToContainerPoint(at);
    const half = (name.length * LETTER_PX + MORE_PX) / 2;
    const area = [x - half, y - LABEL_HEIGHT_PX / 2, x + half, y + LABEL_HEIGHT_PX / 2];
    const inside = area[0] >= EDGE_PX && area[1] >= EDGE_PX && area[2] <= width - EDGE_PX && area[3] <= height - EDGE_PX;
    if (!inside || taken.some((other) => overlap(area, other))) continue;
    taken.push(area);
    const text = element("text", { class: "map-name", y: 4, "text-anchor": "middle" });
    text.textContent = name;
    const html = element("svg", { width: 1, height: 1 }, text);
    const icon = leaflet.divIcon({ className: "map-icon map-name-icon", html, iconSize: [0, 0] });
    const options = { icon, pane: "map-names", interactive: false, keyboard: false };
    leaflet.marker(at, options).addTo(group).getElement().setAttribute("aria-hidden", "true");
  }
}

function overlap(a, b) {
  return a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3];
}

function element(name, attributes, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}
