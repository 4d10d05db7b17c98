// Export the rows of the list as a file. Both formats hold every field, so the rows can be restored.
const FIELDS = ["t", "p", "o", "ts", "klag", "ip", "country", "device", "type", "params", "cut", "bad"];
const HEADINGS = [
  "topic",
  "partition",
  "offset",
  "received_ms",
  "klag_ms",
  "address",
  "country",
  "device",
  "type",
  "params",
  "params_cut",
  "fault",
];
// Text that a spreadsheet reads as a formula, also after spaces and in full-width characters. The apostrophe, our mark, is
// included so that a reader can remove it again (core/tables.py).
const FORMULA = /^[\s']*[=+\-@|%＝＋－＠]|^['\t\r\n]/u;
// A formula after a separator other than the comma, where some spreadsheets start a new cell.
const INNER_FORMULA = /([;\t\r\n])(?=(?:[^\S\t\r\n]|['"])*[=+\-@|%＝＋－＠])/gu;
const ROWS_A_STEP = 1_000;

/**
 * One CSV cell (RFC 4180). An apostrophe is added before a formula at the start of the text and after each semicolon, tab or
 * line break. Remove these apostrophes to restore the text.
 */
export function csvCell(value) {
  if (value === null || value === undefined) return "";
  if (typeof value !== "string") return String(value);
  const inside = value.replace(INNER_FORMULA, "$1'");
  const neutral = FORMULA.test(inside) ? `'${inside}` : inside;
  return /[",\r\n]/.test(neutral) ? `"${neutral.replaceAll('"', '""')}"` : neutral;
}

export function csvLine(row) {
  return `${FIELDS.map((field) => csvCell(row[field])).join(",")}\r\n`;
}

export function ndjsonLine(row) {
  return `${JSON.stringify(row)}\n`;
}

/** Build the file in steps, so that the main thread is free between them, then start the download. */
export async function download(rows, format) {
  const line = format === "csv" ? csvLine : ndjsonLine;
  const parts = format === "csv" ? [`${HEADINGS.join(",")}\r\n`] : [];
  for (let begin = 0; begin < rows.length; begin += ROWS_A_STEP) {
    parts.push(
      rows
        .slice(begin, begin + ROWS_A_STEP)
        .map(line)
        .join(""),
    );
    await new Promise((resume) => setTimeout(resume));
  }
  const type = format === "csv" ? "text/csv;charset=utf-8" : "application/x-ndjson";
  const url = URL.createObjectURL(new Blob(parts, { type }));
  const link = document.createElement("a");
  link.href = url;
  link.download = `kafidx-${new Date().toISOString().slice(0, 19).replaceAll(":", "")}.${format}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000); // the browser may still be reading it
}
