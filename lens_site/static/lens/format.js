/**
 * How numbers and times read in the reader's own locale and zone; the server's twin of it is
 * lens_site/pages/formats.py. What is not known reads UNKNOWN, never 0.
 */

export const UNKNOWN = "–";
const THIN = "\u202f";
const LOCALE = navigator.languages?.length ? [...navigator.languages] : undefined;
const PRICE_DIGITS = 8;

const numbers = new Map();

function formatter(least, most) {
  const key = `${least}:${most}`;
  if (!numbers.has(key)) {
    const options = { minimumFractionDigits: least, maximumFractionDigits: most };
    numbers.set(key, new Intl.NumberFormat(LOCALE, options));
  }
  return numbers.get(key);
}

function number(value) {
  if (value === null || value === undefined || value === "") return null;
  const found = Number(value);
  return Number.isFinite(found) ? found : null;
}

function grouped(value, least, most = least) {
  const shown = Number(value.toFixed(most)) === 0 ? 0 : value;
  const text = formatter(least, most).format(shown);
  return text.startsWith("-") ? `−${text.slice(1)}` : text;
}

const known = (write) => (value) => {
  const found = number(value);
  return found === null ? UNKNOWN : write(found);
};
const signed = (value, digits, text) => (Number(value.toFixed(digits)) > 0 ? `+${text}` : text);

export const price = known((value) => grouped(value, 0, PRICE_DIGITS));
export const whole = known((value) => grouped(value, 0));
export const percent = known((value) => `${grouped(value * 100, 0)}${THIN}%`);
export const points = known((value) => `${grouped(value, 0, 1)}${THIN}%`);
export const ratio = known((value) => grouped(value, 2));
export const score = known((value) => grouped(value, 3));
export const delta = known((value) => signed(value, 4, grouped(value, 4)));
export const change = known((value) => signed(value * 100, 2, `${grouped(value * 100, 2)}${THIN}%`));
export const bps = known((value) => signed(value, 0, `${grouped(value, 0)}${THIN}bps`));
export const usd = known((value) => {
  const digits = value !== 0 && Math.abs(value) < 0.1 ? 4 : 2;
  const text = grouped(Math.abs(value), digits);
  return value < 0 ? `−$${text}` : `$${text}`;
});
/** Whole seconds, as targets are, have no decimals. */
const secondsDigits = (ms) => (ms % 1000 === 0 ? 0 : Math.abs(ms) < 10000 ? 2 : 1);
export const span = known((value) => {
  if (value !== 0 && Math.abs(value) < 1) return `${grouped(value, 1)}${THIN}ms`;
  if (Math.abs(value) < 1000) return `${grouped(value, 0)}${THIN}ms`;
  if (Math.abs(value) < 60000) return `${grouped(value / 1000, secondsDigits(value))}${THIN}s`;
  return age(value / 1000);
});

const STEPS = [
  [86400, "d", 3600, "h"],
  [3600, "h", 60, "min"],
  [60, "min", 1, "s"],
];

/** Return a length of time in at most two units. */
export function age(seconds) {
  if (!Number.isFinite(seconds)) return UNKNOWN;
  const left = Math.max(0, Math.round(seconds));
  for (const [size, name, below, belowName] of STEPS) {
    if (left >= size) {
      const rest = Math.floor((left % size) / below);
      const head = `${Math.floor(left / size)}${THIN}${name}`;
      return rest ? `${head} ${rest}${THIN}${belowName}` : head;
    }
  }
  return `${left}${THIN}s`;
}

/** Return the zone that the reader has chosen: "UTC", or undefined for the browser's own. */
export const zone = () => (document.documentElement.dataset.zone === "local" ? undefined : "UTC");

const times = new Map();

function timeFormat(kind) {
  const key = `${kind}:${zone() ?? "local"}`;
  if (!times.has(key)) {
    const day = { year: "numeric", month: "2-digit", day: "2-digit" };
    const hour = { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" };
    const parts = { clock: hour, day: { day: "numeric", month: "short" }, short: { day: "numeric", month: "short", ...hour } }[kind] ?? { ...day, ...hour, timeZoneName: "short" };
    times.set(key, new Intl.DateTimeFormat(kind === "stamp" ? "sv-SE" : LOCALE, { ...parts, timeZone: zone() }));
  }
  return times.get(key);
}

export const clock = (at) => timeFormat("clock").format(new Date(at));
export const dayOf = (at) => timeFormat("day").format(new Date(at));
export const shortStamp = (at) => timeFormat("short").format(new Date(at)).replace(",", "");
export const stamp = (at) => timeFormat("stamp").format(new Date(at));

/** Return the name of the chosen zone as of now, for labels. */
export function zoneName() {
  if (zone() === "UTC") return "UTC";
  const parts = new Intl.DateTimeFormat(LOCALE, { timeZoneName: "short" }).formatToParts(new Date());
  return parts.find((part) => part.type === "timeZoneName")?.value ?? "local";
}

const FIGURES = { price, whole, percent, points, ratio, score, delta, change, bps, usd, span };

/** Write one figure or moment as its element's data says. */
function rewrite(element) {
  const kind = element.dataset.as;
  let text = null;
  if (element.tagName === "DATA") text = FIGURES[kind]?.(element.value);
  else if (kind === "age") text = age((Date.now() - Date.parse(element.dateTime)) / 1000);
  else if (kind === "left") text = age((Date.parse(element.dateTime) - Date.now()) / 1000);
  else text = ({ clock, day: dayOf, short: shortStamp }[kind] ?? stamp)(element.dateTime);
  if (text && element.textContent !== text) element.textContent = text;
  if (element.tagName === "TIME" && !element.dataset.titled) {
    element.title = `${stamp(element.dateTime)}`;
    element.dataset.titled = "yes";
  }
}

/** Write all figures and moments below an element as the reader reads them. */
export function redraw(root = document) {
  for (const element of root.querySelectorAll("data[data-as], time[data-as]")) rewrite(element);
}

/** Keep ages and remaining times true. */
export function tick(root = document) {
  for (const element of root.querySelectorAll('time[data-as="age"], time[data-as="left"]')) rewrite(element);
}

/** Return a figure as an element, so that it follows the reader's choices later on. */
export function figure(kind, value) {
  if (number(value) === null) {
    const unknown = document.createElement("span");
    unknown.className = "unknown";
    unknown.textContent = UNKNOWN;
    return unknown;
  }
  const element = document.createElement("data");
  element.value = String(value);
  element.dataset.as = kind;
  element.textContent = FIGURES[kind](value);
  return element;
}
