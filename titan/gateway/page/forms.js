// How values are written, and tables of them.

const significant = new Intl.NumberFormat("en", { maximumSignificantDigits: 7 });
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 4 });
const NONE = "–";

export const number = (value) =>
  value === null || value === undefined ? NONE : value !== 0 && (Math.abs(value) < 1e-6 || Math.abs(value) >= 1e12)
    ? value.toPrecision(5) : significant.format(value);
export const amount = (value) => (value === null || value === undefined ? NONE : compact.format(value));
export const fixed = (digits) => (value) => (value === null || value === undefined ? NONE : value.toFixed(digits));
export const percent = (value) => (value === null || value === undefined ? NONE : `${(100 * value).toFixed(2)} %`);
export const moment = (value) => (value ? value.slice(0, 16).replace("T", " ") : NONE);
export const age = (seconds) => {
  if (seconds === null || seconds === undefined) return NONE;
  for (const [unit, length] of [["d", 86400], ["h", 3600], ["min", 60]]) {
    if (seconds >= 2 * length) return `${Math.floor(seconds / length)} ${unit}`;
  }
  return `${Math.max(0, Math.floor(seconds))} s`;
};
/** The class of a change, beside which an arrow stands: colour is not all that tells it. */
export const direction = (value) => (value > 0 ? "rise" : value < 0 ? "fall" : "");

export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** Columns are {head, of(row), form, tone(row), text}; the first of a row heads it. `current(row)` marks one. */
export function table(caption, columns, rows, current = () => false) {
  const cell = (column, row, at) => {
    const value = column.of(row);
    const shown = value instanceof Node ? value : (column.form ?? String)(value);
    const classes = [column.text && "text", column.tone && direction(column.tone(row))].filter(Boolean).join(" ");
    return element(at ? "td" : "th", { class: classes || null, scope: at ? null : "row" }, shown);
  };
  return element(
    "table", { "aria-label": caption },
    element("thead", {}, element("tr", {}, ...columns.map((one) =>
      element("th", { scope: "col", class: one.text ? "text" : null, title: one.title }, one.head)))),
    element("tbody", {}, ...rows.map((row) =>
      element("tr", { "aria-current": current(row) ? "true" : null }, ...columns.map((one, at) => cell(one, row, at))))),
  );
}

export const facts = (list, pairs) =>
  list.replaceChildren(...pairs.map(([name, value, tone, title]) =>
    element("div", { title }, element("dt", {}, name),
      element("dd", { class: tone === undefined ? null : direction(tone) || null }, value))));

export const nothing = (told) => element("p", { class: "empty" }, told);

/** Blue for together, orange for against, paler towards nothing; the number stands in the cell, dark on pale. */
export function heat(value) {
  const [red, green, blue] = value >= 0 ? [86, 180, 233] : [240, 160, 60];
  const share = Math.min(1, Math.abs(value));
  const mixed = [red, green, blue].map((part) => Math.round(255 - (255 - part) * share));
  return `background: rgb(${mixed.join(" ")}); color: #10151b`;
}
