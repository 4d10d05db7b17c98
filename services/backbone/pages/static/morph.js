// Make `current` equal to `fresh` and change only the differences, so that focus, selection and scroll position stay.
// `fresh` comes from the same template. Text is always written as text, never as HTML.
export function morph(current, fresh) {
  if (current.nodeType !== fresh.nodeType || current.nodeName !== fresh.nodeName) {
    current.replaceWith(document.importNode(fresh, true));
    return;
  }
  if (current.nodeType === Node.TEXT_NODE) {
    if (current.textContent !== fresh.textContent) current.textContent = fresh.textContent;
    return;
  }
  if (current.nodeType !== Node.ELEMENT_NODE) return;
  morphAttributes(current, fresh);
  const wanted = [...fresh.childNodes];
  const existing = [...current.childNodes];
  wanted.forEach((node, index) => {
    if (index < existing.length) morph(existing[index], node);
    else current.append(document.importNode(node, true));
  });
  for (const extra of existing.slice(wanted.length)) extra.remove();
}

function morphAttributes(current, fresh) {
  for (const { name } of [...current.attributes]) {
    // An element that the reader has opened stays open.
    if (!fresh.hasAttribute(name) && !(name === "open" && current.nodeName === "DETAILS"))
      current.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (current.getAttribute(name) !== value) current.setAttribute(name, value);
  }
}
