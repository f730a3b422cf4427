// Makes elements, and puts numbers in words.

/** The element with this id. */
export function at(id) {
  return document.getElementById(id);
}

/** `<name class>` with children, which are nodes or plain text: no text is ever read as HTML. */
export function element(name, className = '', ...children) {
  const node = document.createElement(name);
  if (className) node.className = className;
  node.append(...children);
  return node;
}

/** A button that does not submit a form. */
export function button(className, name, onClick) {
  const node = element('button', className, name);
  node.type = 'button';
  node.addEventListener('click', onClick);
  return node;
}

/** Whether the element that had the focus is gone, hidden or disabled. */
export function focusIsLost() {
  const focused = document.activeElement;
  return !focused || focused === document.body || focused.disabled || !focused.checkVisibility();
}

/** 1234 → `1,234` */
export function number(count) {
  return count.toLocaleString('en');
}

/** `1 text`, `1,234 texts` */
export function counted(count, noun = 'text') {
  return `${number(count)} ${noun}${count === 1 ? '' : 's'}`;
}

/** 0.123 → `12.3%` */
export function percent(share) {
  return `${(share * 100).toFixed(1)}%`;
}

/** `80 ms`, `1.2 s`, `3 min` */
export function duration(milliseconds) {
  if (milliseconds < 1000) return `${Math.max(1, Math.round(milliseconds))} ms`;
  if (milliseconds < 120_000) return `${(milliseconds / 1000).toFixed(1)} s`;
  return `${number(Math.round(milliseconds / 60_000))} min`;
}

/** `12 KB`, `3.4 MB` */
export function fileSize(bytes) {
  if (bytes < 1000) return counted(bytes, 'byte');
  return bytes < 1e6 ? `${Math.round(bytes / 1000)} KB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

/** At most `most` characters of a text, without half of a surrogate pair at the end. */
export function excerpt(text, most) {
  return text.length > most ? `${text.slice(0, most).replace(/[\ud800-\udbff]$/, '')}…` : text;
}
