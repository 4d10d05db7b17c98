// The components of the style guide that need scripts.
import "./push/copy-box.js";
import "./push/dialog.js";
import "./push/map.js";
