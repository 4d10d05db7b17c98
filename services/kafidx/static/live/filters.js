// Convert between the filter form and the query of the URL, so that a view can be shared as a link.
const LISTS = ["type", "country", "partition"]; // comma-separated in one field
const ROOMY = "(min-width: 60rem) and (min-height: 40rem)";
const POSITIONS = { end: "", beginning: "", last: "100", offset: "0:0", time: "" };
export const FILTER_NAMES = [
  "topic",
  "type",
  "filter",
  "device",
  "country",
  "bot",
  "partition",
  "text",
  "where",
  "from",
];

export class Filters {
  #form;
  #conditions;
  #template;
  #count;
  #errors;
  #toggle;
  #active = 0;

  constructor({ form, toggle, onApply }) {
    this.#form = form;
    this.#toggle = toggle;
    this.#conditions = form.querySelector("[data-conditions]");
    this.#template = form.querySelector("[data-condition-template]").content;
    this.#count = document.querySelector("[data-filter-count]");
    this.#errors = new Map([...form.querySelectorAll("[data-error-for]")].map((e) => [e.dataset.errorFor, e]));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      onApply(this.toQuery());
    });
    form.querySelector("[data-add-condition]").addEventListener("click", () => this.#addCondition("").focus());
    form.querySelector("[data-reset-filters]").addEventListener("click", () => onApply(new URLSearchParams()));
    form.elements.from_kind.addEventListener("change", () => this.#positionChosen());
  }

  /** The view as a query, without the parameters that have their default value. */
  toQuery() {
    const { elements } = this.#form;
    const query = new URLSearchParams();
    put(query, "topic", elements.topic.value);
    for (const name of LISTS) put(query, name, words(elements[name].value).join(","));
    const devices = [...this.#form.querySelectorAll("[name=device]:checked")].map((box) => box.value);
    put(query, "device", devices.join(","));
    put(query, "bot", elements.bot.value);
    put(query, "text", elements.text.value);
    for (const input of this.#conditions.querySelectorAll("[name=where]")) {
      if (input.value.trim()) query.append("where", input.value.trim());
    }
    const kind = elements.from_kind.value;
    if (kind === "beginning") query.set("from", kind);
    else if (kind !== "end") query.set("from", `${kind}:${elements.from_value.value.trim()}`);
    return query;
  }

  /** Fill the form from a query. The former parameter name `filter` is accepted. */
  show(query) {
    const { elements } = this.#form;
    elements.topic.value = query.get("topic") ?? "";
    // The default topic by its name, or an unknown topic, for which the server reports an error.
    if (elements.topic.selectedIndex < 0) elements.topic.value = "";
    for (const name of LISTS) elements[name].value = query.getAll(name).join(",");
    elements.type.value = [...query.getAll("type"), ...query.getAll("filter")].join(",");
    const devices = query.getAll("device").flatMap((value) => value.split(","));
    for (const box of this.#form.querySelectorAll("[name=device]")) box.checked = devices.includes(box.value);
    elements.bot.value = query.get("bot") ?? "";
    elements.text.value = query.get("text") ?? "";
    this.#conditions.replaceChildren();
    for (const condition of query.getAll("where")) this.#addCondition(condition);
    const [kind, ...rest] = (query.get("from") ?? "end").split(":");
    elements.from_kind.value = kind in POSITIONS ? kind : "end";
    elements.from_value.value = rest.join(":");
    elements.from_value.hidden = !takesValue(elements.from_kind.value);
    this.clearError();
    const isFilter = (name) => FILTER_NAMES.includes(name) && name !== "from" && name !== "topic";
    const active = [...query.keys()].filter(isFilter).length;
    this.#count.textContent = active === 0 ? "" : `${active} active`;
    // The panel opens with the first filter, where it leaves room for the list.
    if (active > 0 && this.#active === 0 && matchMedia(ROOMY).matches) this.toggle(true);
    this.#active = active;
  }

  /** Open or close the panel. */
  toggle(open = this.#form.hidden) {
    this.#form.hidden = !open;
    this.#toggle.setAttribute("aria-expanded", String(open));
  }

  focusText() {
    this.toggle(true);
    this.#form.elements.text.focus();
  }

  /** Return a query that shows one type only. */
  only(type) {
    // A comma separates types, so a type with a comma needs a condition.
    const plain = !type.includes(",") && type.trim() === type;
    if (plain) this.#form.elements.type.value = type;
    else this.#addCondition(`type = ${type}`);
    return this.toQuery();
  }

  clearError() {
    for (const element of this.#errors.values()) element.textContent = "";
    for (const field of this.#form.querySelectorAll("[aria-invalid]")) field.removeAttribute("aria-invalid");
  }

  /** Show the error beside its field, and select the text from the position of the error on. */
  showError({ parameter, position, reason, value }) {
    this.toggle(true);
    this.clearError();
    const name = parameter === "filter" ? "type" : parameter;
    const element = this.#errors.get(name) ?? this.#errors.get("");
    const at = Number.isInteger(position) ? ` (at character ${position + 1})` : "";
    element.textContent = this.#errors.has(name)
      ? `${reason}${at}`
      : `${parameter ? `${parameter}: ` : ""}${reason}${at}`;
    const field = this.#fieldOf(name, value);
    if (!field) return;
    field.setAttribute("aria-invalid", "true");
    field.focus();
    if (!field.setSelectionRange || !Number.isInteger(position)) return;
    // The position counts from the start of the parameter. The field of `from` holds the text after the first colon.
    const begin = field.name === "from_value" ? position - this.#form.elements.from_kind.value.length - 1 : position;
    field.setSelectionRange(Math.max(0, begin), field.value.length);
  }

  #fieldOf(name, value) {
    if (name === "from")
      return this.#form.elements[takesValue(this.#form.elements.from_kind.value) ? "from_value" : "from_kind"];
    if (name === "where") {
      const inputs = [...this.#conditions.querySelectorAll("[name=where]")];
      return inputs.find((input) => input.value === value) ?? inputs[0];
    }
    const field = this.#form.elements[name];
    return field instanceof RadioNodeList ? field[0] : field;
  }

  #addCondition(text) {
    const condition = this.#template.cloneNode(true).firstElementChild;
    const input = condition.querySelector("input");
    input.value = text;
    condition.querySelector("button").addEventListener("click", () => {
      condition.remove();
      this.#form.querySelector("[data-add-condition]").focus();
    });
    this.#conditions.append(condition);
    return input;
  }

  #positionChosen() {
    const { from_kind: kind, from_value: value } = this.#form.elements;
    value.hidden = !takesValue(kind.value);
    value.value =
      kind.value === "time" ? new Date(Date.now() - 600_000).toISOString().slice(0, 19) + "Z" : POSITIONS[kind.value];
    if (!value.hidden) value.focus();
  }
}

function takesValue(kind) {
  return kind !== "end" && kind !== "beginning";
}

function put(query, name, value) {
  if (value) query.set(name, value);
}

function words(text) {
  return text
    .split(",")
    .map((word) => word.trim())
    .filter(Boolean);
}
