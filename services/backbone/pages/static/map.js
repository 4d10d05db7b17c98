// Leaflet replaces the SVG of a map when a reader uses it. It draws the same shapes from the JSON in `data-map`.
// Without this module, and when a file does not load, the SVG stays.
import { MARKER_PX, MOST_ZOOM, drawCircle, drawPaper, replaceMarkers } from "./map-layers.js";

const MOVES = {
  ArrowLeft: [-80, 0],
  ArrowRight: [80, 0],
  ArrowUp: [0, -80],
  ArrowDown: [0, 80],
  "+": 1,
  "-": -1,
};

for (const box of document.querySelectorAll("[data-map][data-leaflet]")) prepare(box);

function prepare(box) {
  const data = JSON.parse(box.dataset.map);
  let starting = null;
  const start = () => {
    starting ??= takeOver(box, data).catch((error) => {
      starting = null; // the next use of the map tries again
      console.warn("The map stays a drawing:", error);
    });
    return starting;
  };
  // A name for the focus of the keyboard. Leaflet's container has it later.
  box.tabIndex = 0;
  box.setAttribute("role", "group");
  box.setAttribute("aria-label", data.title);
  box.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && start());
  // A tap, not a touch: a finger that scrolls the page over the map must not be caught by it.
  box.addEventListener("click", (event) => event.target.closest("a") || start());
  box.addEventListener("keydown", async (event) => {
    const move = MOVES[event.key];
    if (event.target !== box || move === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const map = await start();
    if (!map) return;
    map.getContainer().focus({ preventScroll: true });
    if (Array.isArray(move)) map.panBy(move);
    else map.setZoom(map.getZoom() + move);
  });
  box.addEventListener("push:radius", (event) => setRadius(box, data, event.detail));
  if (data.whenIdle) (window.requestIdleCallback ?? ((done) => setTimeout(done, 200)))(start);
}

// A page changes a circle: `push:radius` with the index of the circle and its radius in metres.
function setRadius(box, data, { circle, radiusM }) {
  const changed = data.circles[circle];
  const drawn = changed.drawnM ??= changed.radius_m;
  changed.radius_m = radiusM;
  changed.layer?.setRadius(radiusM);
  for (const svg of box.querySelectorAll(".map-drawing")) {
    const shape = svg.querySelectorAll(".map-circle")[circle];
    shape.dataset.r ??= shape.getAttribute("r");
    if (drawn > 0) shape.setAttribute("r", (Number(shape.dataset.r) * radiusM) / drawn);
  }
}

async function takeOver(box, data) {
  const [leaflet] = await Promise.all([import(box.dataset.leaflet), loadStyle(box.dataset.leafletStyle)]);
  const svg = [...box.querySelectorAll(".map-drawing")].find((each) => each.getClientRects().length > 0);
  if (!svg) throw new Error("the map is hidden");
  const frame = data.frames[svg.classList.contains("map-wide") ? 0 : 1];
  const shrunk = svg.getBoundingClientRect().width / frame.width;
  const hadFocus = document.activeElement === box;

  const live = document.createElement("div");
  live.className = "map-live";
  live.setAttribute("role", "group");
  live.setAttribute("aria-label", data.title);
  box.insertBefore(live, box.querySelector(".map-attribution"));
  const map = createMap(leaflet, live, frame, frame.zoom + Math.log2(shrunk));
  for (const circle of data.circles) circle.layer = drawCircle(leaflet, map, circle, frame);
  const markers = leaflet.layerGroup().addTo(map);
  const drawMarkers = () => replaceMarkers(leaflet, map, markers, data, frame);
  drawMarkers();
  map.on("zoomend", drawMarkers);
  const zoomArea = addZoom(leaflet, map, data, markers);
  if (box.dataset.tiles) drawTiles(leaflet, map, box);
  else drawPaper(leaflet, map, box, data, frame, markers, zoomArea);

  for (const name of ["tabindex", "role", "aria-label"]) box.removeAttribute(name);
  box.classList.add("map-is-live");
  if (hadFocus) live.focus({ preventScroll: true });
  return map;
}

function loadStyle(href) {
  if (document.querySelector(`link[href="${CSS.escape(href)}"]`)) return Promise.resolve();
  const link = document.createElement("link");
  link.rel = "stylesheet";
  link.href = href;
  return new Promise((resolve, reject) => {
    link.onload = resolve;
    link.onerror = () => reject(new Error(`${href} did not load`));
    document.head.append(link);
  });
}

function createMap(leaflet, live, frame, zoom) {
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const map = leaflet.map(live, {
    center: [frame.latitude, frame.longitude],
    zoom,
    zoomSnap: 0, // the frame has a fractional zoom
    minZoom: Math.min(zoom, 2),
    maxZoom: MOST_ZOOM,
    attributionControl: false, // the box has its own, with and without this module
    zoomControl: false,
    scrollWheelZoom: false, // the wheel scrolls the page
    zoomAnimation: !still,
    fadeAnimation: !still,
    markerZoomAnimation: !still,
    inertia: !still,
  });
  if (still) {
    const { panBy, setView } = map;
    map.panBy = (offset, options) => panBy.call(map, offset, { ...options, animate: false });
    map.setView = (centre, level, options) => setView.call(map, centre, level, { ...options, animate: false });
  }
  live.addEventListener(
    "wheel",
    (event) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      const level = map.getZoom() - Math.sign(event.deltaY) / 2;
      map.setZoomAround(map.mouseEventToContainerPoint(event), level, { animate: false });
    },
    { passive: false },
  );
  for (const [name, level] of [["map-paper", 350], ["map-names", 450]]) {
    map.createPane(name).style.zIndex = level;
    map.getPane(name).style.pointerEvents = "none";
  }
  return map;
}

// In the first corner without a marker. Returns the area that no name may enter.
function addZoom(leaflet, map, data, markers) {
  const areas = ({ x, y }) => ({
    topleft: [0, 0, 60, 108],
    topright: [x - 60, 0, x, 108],
    bottomright: [x - 60, y - 144, x, y - 36],
  });
  const points = markers.getLayers().map((marker) => map.latLngToContainerPoint(marker.getLatLng()));
  const isFree = ([, [left, top, right, bottom]]) =>
    !points.some(({ x, y }) => x > left - MARKER_PX && x < right + MARKER_PX && y > top - MARKER_PX && y < bottom + MARKER_PX);
  const [position] = Object.entries(areas(map.getSize())).find(isFree) ?? ["topleft"];
  const { zoom_in: zoomInTitle, zoom_out: zoomOutTitle } = data.words;
  leaflet.control.zoom({ position, zoomInTitle, zoomOutTitle }).addTo(map);
  return () => areas(map.getSize())[position];
}

function drawTiles(leaflet, map, box) {
  leaflet.tileLayer(box.dataset.tiles, { className: "map-tiles", maxZoom: MOST_ZOOM }).addTo(map);
  const text = box.dataset.tilesAttribution;
  if (text) box.querySelector(".map-attribution").append(` · ${text}`);
}
