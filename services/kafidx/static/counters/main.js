// A page of a counter: draw its histograms now and after each refresh.
import { drawHistograms } from "./histogram.js";

function draw() {
  drawHistograms().catch((error) => {
    document.querySelector("[data-refresh-status]").textContent = `Chart not drawn: ${error.message}`;
  });
}

document.addEventListener("push:refreshed", draw);
draw();
