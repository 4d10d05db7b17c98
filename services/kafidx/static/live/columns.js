// The columns of the live list, in the order of the heading in templates/live.html.
import { clockUtc, localTime } from "../push/times.js";

const SLOW_MS = 1_000;
const SHAPES = { offr: "offer", srch: "search" };

export const COLUMNS = [
  { name: "place", text: (row) => `${row.t}/${row.p}/${row.o}` },
  { name: "time", text: (row) => clockUtc(row.ts), title: (row) => localTime(row.ts) },
  { name: "klag", text: (row) => milliseconds(row.klag), flag: (row) => row.klag >= SLOW_MS },
  { name: "address", text: (row) => row.ip || "–" },
  { name: "country", text: (row) => row.country || "–" },
  { name: "device", text: (row) => row.device || "–" },
  {
    name: "type",
    text: (row) => row.type || "not an event",
    flag: (row) => Boolean(row.bad),
    shape: (row) => SHAPES[row.type] ?? "",
  },
  { name: "params", text: (row) => row.bad || row.params || "–", flag: (row) => Boolean(row.cut) && !row.bad },
];

function milliseconds(value) {
  return value === null || value === undefined ? "–" : `${value} ms`;
}
