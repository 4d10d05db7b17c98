// The name of this viewing session (`gid`): the URL's, else one that this tab keeps, else a new one.
const KEY = "kafidx-gid";

export function sessionName(query) {
  const given = query.get("gid");
  if (given) return given; // checked by the server, which says what is wrong with it
  try {
    const kept = sessionStorage.getItem(KEY) ?? newName();
    sessionStorage.setItem(KEY, kept);
    return kept;
  } catch {
    return newName(); // storage may be forbidden
  }
}

function newName() {
  const [a, b] = crypto.getRandomValues(new Uint32Array(2));
  return `kafidx-${(a % 0x100000).toString(16).padStart(5, "0")}-${b % 1000}`;
}
