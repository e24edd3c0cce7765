/** What every page does: choices of display, menus, copying, keys, and the state of the connection. */

import { feed } from "./feed.js";
import { age, clock, redraw, tick, zoneName } from "./format.js";

const words = JSON.parse(document.getElementById("page-words")?.content ?? "{}");
const root = document.documentElement;
const TICK_MS = 1_000;

/** Fill the places of a phrase: say("live {ms} ms", {ms: 12}). */
export function say(phrase, values = {}) {
  return (words[phrase] ?? phrase).replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}

/** Tell something in passing; it goes by itself. */
export function toast(text) {
  document.querySelector(".toast")?.remove();
  const note = document.createElement("output");
  note.className = "toast";
  note.textContent = text;
  document.body.append(note);
  setTimeout(() => note.remove(), 2_500);
}

function keep(name, value) {
  try {
    localStorage.setItem(`lens.${name}`, value);
  } catch {
    /* a browser that keeps nothing still shows the choice until it leaves */
  }
}

function setUpChoices() {
  for (const input of document.querySelectorAll("[data-choice]")) {
    input.checked = root.dataset[input.dataset.choice] === input.value;
    input.addEventListener("change", () => {
      root.dataset[input.dataset.choice] = input.value;
      keep(input.dataset.choice, input.value);
      for (const time of document.querySelectorAll("time[data-titled]")) delete time.dataset.titled;
      redraw();
      showClock();
      document.dispatchEvent(new CustomEvent("lens:display", { detail: input.dataset.choice }));
    });
  }
}

function setUpMenus() {
  const open = () => document.querySelectorAll("details.menu[open]");
  document.addEventListener("click", (event) => {
    for (const menu of open()) if (!menu.contains(event.target)) menu.open = false;
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    for (const menu of open()) {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
  });
}

function setUpCopying() {
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy], [data-copy-from]");
    if (!button) return;
    const source = button.dataset.copyFrom && document.querySelector(button.dataset.copyFrom);
    const text = source ? source.textContent : new URL(button.dataset.copy, location.href).href;
    await copy(source || !button.dataset.copyUrl ? (source?.textContent ?? button.dataset.copy) : text);
    toast(say("copied"));
  });
}

async function copy(text) {
  if (navigator.clipboard && window.isSecureContext) {
    await navigator.clipboard.writeText(text);
    return;
  }
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "unseen";
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

function setUpKeys() {
  const help = document.getElementById("help");
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
    if (event.key === "/") {
      event.preventDefault();
      document.getElementById("search")?.focus();
    } else if (event.key === "?" && help) {
      help.open ? help.close() : help.showModal();
    }
  });
  for (const button of document.querySelectorAll("[data-dialog]")) {
    button.addEventListener("click", () => document.getElementById(button.dataset.dialog).showModal());
  }
  for (const button of document.querySelectorAll("dialog [data-close]")) {
    button.addEventListener("click", () => button.closest("dialog").close());
  }
}

/** Say whether keys belong to a field just now. */
export const isTyping = (target) => target.closest?.("input, select, textarea, [contenteditable]") !== null;

function showClock() {
  const place = document.getElementById("clock");
  if (place) place.textContent = `${clock(Date.now())} ${zoneName()}`;
}

function setUpPill() {
  const pill = document.getElementById("pill");
  if (!pill) return;
  feed.addEventListener("standing", ({ detail }) => {
    const text = standing(detail);
    pill.dataset.state = detail.state;
    if (pill.textContent !== text) pill.textContent = text;
    pill.setAttribute("aria-label", say("connection: {text}", { text }));
    showWell();
  });
  feed.open();
}

function standing({ state, ms, missed, seconds, since, why }) {
  if (why) return say(why);
  if (state === "live") return say("live {ms} ms", { ms });
  if (state === "replaying") return say("replaying {missed}", { missed });
  if (state === "offline") return say("offline since {at}", { at: clock(since).slice(0, 5) });
  if (seconds === undefined) return say("connecting");
  return say("reconnecting in {left}", { left: age(seconds) });
}

/** Turn the tab's icon while something is wrong: no connection, a pause, or a house that is unwell. */
function showWell() {
  const icon = document.getElementById("favicon");
  icon.dataset.well ??= icon.href;
  const isWell = document.getElementById("pill")?.dataset.state !== "offline" && !document.querySelector(".banner, .sentence.bad");
  const wanted = isWell ? icon.dataset.well : new URL(icon.dataset.down, location.href).href;
  if (icon.href !== wanted) icon.href = wanted;
}

redraw();
setUpChoices();
setUpMenus();
setUpCopying();
setUpKeys();
setUpPill();
showClock();
showWell();
setInterval(() => {
  tick();
  showClock();
}, TICK_MS);
document.addEventListener("htmx:after:swap", () => {
  redraw();
  showWell();
});
