// The name of this viewing session (`gid`): from the URL, else from the tab's session storage, else a new one.
const SESSION_KEY = "kafidx-gid";

export function sessionName(query) {
  const given = query.get("gid");
  if (given) return given; // the server checks it and reports an error
  try {
    const kept = sessionStorage.getItem(SESSION_KEY) ?? newName();
    sessionStorage.setItem(SESSION_KEY, kept);
    return kept;
  } catch {
    return newName(); // storage may be disabled
  }
}

function newName() {
  const [a, b] = crypto.getRandomValues(new Uint32Array(2));
  return `kafidx-${(a % 0x100000).toString(16).padStart(5, "0")}-${b % 1000}`;
}
