// The rate of events in the last minute as a line, and the most frequent types. In the first minute the line shows the
// time since the page was opened, so it always fills its width. The axis names this time.
const SECONDS = 60;
const WIDTH = 240;
const HEIGHT = 24;

export class Activity {
  #rates = [];
  #line;
  #area;
  #rate;
  #peak;
  #span;
  #types;
  #onType;

  constructor({ root, onType }) {
    this.#line = root.querySelector("[data-spark-line]");
    this.#area = root.querySelector("[data-spark-area]");
    this.#rate = root.querySelector("[data-rate]");
    this.#peak = root.querySelector("[data-peak]");
    this.#span = root.querySelector("[data-span]");
    this.#types = root.querySelector("[data-types]");
    this.#onType = onType;
  }

  update({ rate, types }) {
    this.#rates.push(rate ?? 0);
    if (this.#rates.length > SECONDS) this.#rates.shift();
    this.#drawLine();
    this.#drawTypes(
      Object.entries(types ?? {})
        .filter(([type]) => type !== "")
        .sort(([, a], [, b]) => b - a)
        .slice(0, 8),
    );
  }

  #drawLine() {
    const peak = Math.max(...this.#rates);
    // One value is a level line. From the second one on the newest is at the right edge.
    const rates = this.#rates.length === 1 ? [this.#rates[0], this.#rates[0]] : this.#rates;
    const step = WIDTH / (rates.length - 1);
    const points = rates.map((rate, index) => {
      const x = index * step;
      const y = HEIGHT - 1 - (rate / Math.max(1, peak)) * (HEIGHT - 3);
      return `${x.toFixed(1)},${y.toFixed(1)}`;
    });
    this.#line.setAttribute("points", points.join(" "));
    this.#area.setAttribute("points", `0,${HEIGHT} ${points.join(" ")} ${WIDTH},${HEIGHT}`);
    this.#rate.textContent = round(this.#rates.at(-1)).toLocaleString("en");
    this.#peak.textContent = round(peak).toLocaleString("en");
    this.#span.textContent = `${this.#rates.length} s`;
  }

  // The buttons are reused, so that the focused one keeps the focus.
  #drawTypes(types) {
    while (this.#types.children.length > types.length) this.#types.lastChild.remove();
    while (this.#types.children.length < types.length) this.#types.append(this.#newType());
    types.forEach(([type, count], index) => {
      const button = this.#types.children[index].firstChild;
      const [name, number] = button.children;
      if (button.dataset.type !== type) {
        button.dataset.type = type;
        name.textContent = type;
        button.title = `Show only ${type}`;
      }
      number.textContent = count.toLocaleString("en");
    });
  }

  #newType() {
    const item = document.createElement("li");
    const button = document.createElement("button");
    button.type = "button";
    button.className = "chip";
    button.append(document.createElement("bdi"), document.createElement("span"));
    button.addEventListener("click", () => this.#onType(button.dataset.type));
    item.append(button);
    return item;
  }
}

function round(rate) {
  return rate < 10 ? Math.round(rate * 10) / 10 : Math.round(rate);
}
