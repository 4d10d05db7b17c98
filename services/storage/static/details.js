// The page of one object: copy buttons, readable times, and the circle on the map while its radius is typed.
import "./push/copy-box.js";
import { writeTimes } from "./push/times.js";

const MOST_M = 100_000;
const radius = document.getElementById("f-radiusMeters");
const map = document.getElementById("map");

writeTimes(document, Date.now());
radius.addEventListener("input", () => {
  const radiusM = Number(radius.value);
  if (radius.value.trim() === "" || !(radiusM >= 0 && radiusM <= MOST_M)) return;
  map.dispatchEvent(new CustomEvent("push:radius", { detail: { circle: 0, radiusM } }));
});
