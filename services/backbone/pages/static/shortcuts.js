// Single-key shortcuts. The help can switch them off, since speech input may type them by accident. All pages share the
// switch.
const SWITCH_KEY = "push-shortcuts";
const HANDLES_SPACE = "button, a, summary, input, select, textarea, pre";

export function installShortcuts(commands, switchBox) {
  switchBox.checked = areSwitchedOn();
  switchBox.addEventListener("change", () => keepSwitch(switchBox.checked));
  document.addEventListener("keydown", (event) => {
    if (!switchBox.checked || event.altKey || event.ctrlKey || event.metaKey || event.defaultPrevented) return;
    if (isTyping(event.target) || document.querySelector("dialog[open]")) return;
    const command = commands[event.key];
    // A focused control handles the space bar itself: it presses, ticks, opens or scrolls.
    if (!command || (event.key === " " && event.target.closest(HANDLES_SPACE))) return;
    event.preventDefault();
    command();
  });
}

function isTyping(target) {
  return target.closest("input:not([type=checkbox]), textarea, select, [contenteditable]") !== null;
}

function areSwitchedOn() {
  try {
    return localStorage.getItem(SWITCH_KEY) !== "off";
  } catch {
    return true; // storage may be disabled
  }
}

function keepSwitch(on) {
  try {
    localStorage.setItem(SWITCH_KEY, on ? "on" : "off");
  } catch {
    // storage may be disabled: then the choice is kept until the page is closed
  }
}
