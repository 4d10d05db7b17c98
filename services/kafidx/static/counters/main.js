// A page of a counter: draw its histograms now, after each refresh, and when their width changes.
import { drawHistograms } from "./histogram.js";

document.addEventListener("push:refreshed", drawHistograms);
addEventListener("resize", drawHistograms);
drawHistograms();
