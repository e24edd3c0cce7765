/**
 * The board's life: rows come and fill in as the public feed tells of decisions, abstentions and
 * signals. Rows themselves are drawn by the server; what arrives later is written into them.
 */

import { feed } from "./feed.js";
import { UNKNOWN, age, figure, percent, redraw, tick } from "./format.js";
import { isTyping, say } from "./page.js";

const ROWS_MAX = 500;
const ASK_EVERY_MS = 250;
const ASK_MAX = 100;
const SPEAK_EVERY_MS = 5_000;
const TILES_EVERY_MS = 5_000;
const STALE_EVERY_MS = 1_000;
const FRESH_MS = 1_600;
const TYPES = ["decision", "abstention", "signal_status"];
const ORIGINS = { "": ["LIVE", "DEMO"], live: ["LIVE"], demo: ["DEMO"], replay: ["DEMO"] };
const SQUARES = { FOLLOW_ENTER: "follow", FOLLOW_EXIT: "follow", IGNORE: "ignore", HOLD: "ignore", TIGHTEN_STOP: "tighten" };
const WORDS = { FOLLOW_ENTER: "follow", FOLLOW_EXIT: "exit", IGNORE: "ignore", HOLD: "hold", TIGHTEN_STOP: "tighten stop" };
const VERDICTS = { follow: ["FOLLOW_ENTER", "FOLLOW_EXIT"], ignore: ["IGNORE"], hold: ["HOLD", "TIGHTEN_STOP"] };
const FOLLOWING = new Set(["FOLLOW_ENTER", "FOLLOW_EXIT"]);

const board = document.getElementById("board");
const body = document.getElementById("rows");
const query = new URLSearchParams(location.search);
const judge = board.dataset.judge;
const title = document.title;

const wanted = new Map(); // event_id -> messages that wait for their row
const held = []; // messages that wait while the board is paused
let isPaused = false;
let asking = false;
let unseen = 0;
let unspoken = 0;

const rowOf = (id) => document.getElementById(`row-${id}`);
const isJudging = ["model", "verdict", "min_confidence"].some((name) => query.get(name));
const minimum = Number(query.get("min_confidence") ?? 0) / 100;

// --- what the feed tells --------------------------------------------------------------------

function hear(message) {
  if (isPaused) {
    held.push(message);
    showPause();
    return;
  }
  take(message);
}

function take(message) {
  const row = rowOf(message.event_id);
  if (message.type === "decision") count(message);
  if (!row) {
    if (isShown(message)) want(message.event_id, message);
  } else if (message.type === "decision") {
    decide(row, message);
  } else if (message.type === "abstention") {
    mark(row, message.model, "abstained", say("{model}: abstained: {cause}", { model: message.model, cause: message.status.replaceAll("_", " ") }));
    progress(row);
  } else if (message.status !== "PUBLISHED") {
    want(message.event_id, null);
  }
}

/** Say whether the view shows the signal that a message is about, as far as the message tells. */
function isShown(message) {
  if (query.get("origin") === "replay") return false;
  if (!isJudging) return true;
  if (message.type !== "decision" || message.model !== judge) return false;
  const verdicts = VERDICTS[query.get("verdict")];
  return message.decision.confidence >= minimum && (!verdicts || verdicts.includes(message.decision.decision));
}

function decide(row, message) {
  const { decision } = message;
  if (message.seq <= Number(row.dataset.seq)) return;
  row.dataset.seq = message.seq;
  if (message.model === "jury") rule(row, decision);
  else {
    const words = say("{model}: {word}, {share}", { model: message.model, word: say(WORDS[decision.decision]), share: percent(decision.confidence) });
    if (!mark(row, message.model, SQUARES[decision.decision] ?? "ignore", words)) want(message.event_id, null);
    if (row.dataset.state === "waiting" || row.dataset.state === "partial") progress(row);
    else recount(row);
  }
  if (row.dataset.drift === "unknown") want(message.event_id, null);
}

function mark(row, model, state, words) {
  const square = row.querySelector(`.sq[data-model="${CSS.escape(model)}"]`);
  if (!square) return false;
  square.className = `sq ${state}`;
  square.textContent = state === "abstained" ? "!" : square.dataset.letter;
  square.title = words;
  square.setAttribute("aria-label", words);
  return true;
}

function answered(row) {
  return row.querySelectorAll(".sq:not(.pending)").length;
}

function progress(row) {
  if (row.dataset.state !== "waiting" && row.dataset.state !== "partial") return;
  row.dataset.state = "partial";
  const text = say("{answered}/{asked} answered", { answered: answered(row), asked: row.dataset.asked });
  badge(row, "badge open", text);
}

function badge(row, className, text, isStruck = false) {
  const mark = document.createElement("span");
  mark.className = className;
  mark.dataset.testid = "verdict";
  const inner = isStruck ? document.createElement("s") : null;
  if (inner) {
    inner.textContent = text;
    mark.append(inner);
  } else mark.textContent = text;
  row.querySelector(".verdict").replaceChildren(mark);
}

function verdictText(row) {
  return `${say(WORDS[row.dataset.decision] ?? "").toUpperCase()} ${row.querySelectorAll(".sq.follow").length}/${row.dataset.asked}`;
}

function rule(row, decision) {
  row.dataset.state = "decided";
  row.dataset.decision = decision.decision;
  if (decision.expires_at) row.dataset.expires = decision.expires_at;
  recount(row);
  row.querySelector(".c-confidence").replaceChildren(figure("percent", decision.confidence), ...calibrated(decision));
  const delay = Date.parse(decision.published_at) - Date.parse(row.dataset.received);
  row.querySelector(".c-latency").replaceChildren(figure("span", delay));
  flash(row);
  notify(row, decision);
}

function recount(row) {
  if (row.dataset.state !== "decided" || !row.dataset.decision) return;
  badge(row, FOLLOWING.has(row.dataset.decision) ? "badge follow" : "badge", verdictText(row));
}

function calibrated(decision) {
  if (!decision.calibration) return [];
  const mark = document.createElement("abbr");
  mark.className = "cal";
  mark.title = say("calibrated by outcomes; said {share}", { share: percent(decision.confidence_raw) });
  mark.textContent = "c";
  return [mark];
}

function flash(row) {
  row.classList.add("fresh");
  setTimeout(() => row.classList.remove("fresh"), FRESH_MS);
}

// --- rows that are not here yet ------------------------------------------------------------

function want(id, message) {
  const messages = wanted.get(id) ?? [];
  if (message) messages.push(message);
  wanted.set(id, messages);
  ask();
}

function ask() {
  if (asking || wanted.size === 0) return;
  asking = true;
  setTimeout(async () => {
    const ids = [...wanted.keys()].slice(0, ASK_MAX);
    const waiting = new Map(ids.map((id) => [id, wanted.get(id)]));
    for (const id of ids) wanted.delete(id);
    try {
      await fetchRows(ids, waiting);
    } catch {
      /* the connection's own state is told by the pill; the next message asks again */
    } finally {
      asking = false;
      ask();
    }
  }, ASK_EVERY_MS);
}

async function fetchRows(ids, waiting) {
  const asked = new URLSearchParams(query);
  for (const id of ids) asked.append("id", id);
  const answer = await fetch(`/board/rows?${asked}`, { headers: { Accept: "text/html" } });
  if (!answer.ok || answer.redirected) return;
  const sheet = document.createElement("template");
  sheet.innerHTML = `<table><tbody>${await answer.text()}</tbody></table>`;
  const fresh = [...sheet.content.querySelectorAll("tr")].reverse();
  for (const row of fresh) place(row, waiting.get(row.dataset.id) ?? []);
  redraw(body);
  trim();
}

function place(row, messages) {
  const there = rowOf(row.dataset.id);
  if (there) {
    row.classList.toggle("away", there.classList.contains("away"));
    if (there.getAttribute("aria-selected") === "true") row.setAttribute("aria-selected", "true");
    const hadFocus = there.contains(document.activeElement);
    there.replaceWith(row);
    if (hadFocus) row.querySelector(".to").focus({ preventScroll: true });
  } else {
    if (messages.some((each) => each.isReplayed)) row.classList.add("away");
    body.insertBefore(row, later(row));
    flash(row);
  }
  for (const message of messages) if (message.type === "decision") decide(row, message);
}

/** Return the row before which a new one stands: newest on top, by when they came in. */
function later(row) {
  for (const other of body.children) {
    if (!other.dataset.received || other.dataset.received <= row.dataset.received) return other;
  }
  return null;
}

function trim() {
  while (body.children.length > ROWS_MAX) body.lastElementChild.remove();
  document.getElementById("empty").hidden = body.children.length > 0;
}

// --- stale: a row never disappears silently ------------------------------------------------

function ageRows() {
  const now = Date.now();
  for (const row of body.querySelectorAll('tr[data-state="decided"][data-expires]')) {
    const expires = Date.parse(row.dataset.expires);
    if (expires >= now) continue;
    const text = row.querySelector(".badge").textContent;
    const follows = row.querySelector(".badge").classList.contains("follow");
    row.dataset.state = "stale";
    badge(row, follows ? "badge follow past" : "badge past", text, true);
    const since = document.createElement("time");
    since.dateTime = row.dataset.expires;
    since.dataset.as = "age";
    row.querySelector(".stale-age").replaceChildren(`${say("stale")} `, since);
  }
  tick(body);
}

// --- pause, counts, notices ----------------------------------------------------------------

const pause = document.getElementById("pause");
const pauseWords = pause.querySelector("span");
const pauseText = pauseWords.textContent;

function showPause() {
  const signals = new Set(held.map((message) => message.event_id));
  const news = [...signals].filter((id) => !rowOf(id)).length;
  pauseWords.textContent = isPaused ? say("Paused, {count} new", { count: news }) : pauseText;
}

function refreshTiles() {
  if (!document.hidden) document.getElementById("tiles").dispatchEvent(new Event("refresh"));
}

function toggle() {
  isPaused = !isPaused;
  pause.setAttribute("aria-pressed", String(isPaused));
  pause.querySelector("use").href.baseVal = pause.querySelector("use").href.baseVal.replace(/#.*/, isPaused ? "#play" : "#pause");
  showPause();
  if (!isPaused) for (const message of held.splice(0)) take(message);
}

function count(message) {
  if (message.model !== judge) return;
  unspoken += 1;
  if (document.hidden) {
    unseen += 1;
    document.title = `(${unseen}) ${title}`;
  }
}

function speak() {
  if (unspoken === 0) return;
  const text = unspoken === 1 ? say("1 new decision") : say("{count} new decisions", { count: unspoken });
  document.getElementById("spoken").textContent = text;
  unspoken = 0;
}

const keeps = {
  get: (name) => localStorage.getItem(`lens.${name}`),
  set: (name, value) => localStorage.setItem(`lens.${name}`, value),
};

const muted = JSON.parse(board.dataset.muted);
const isMuted = (decision) => Boolean(muted.symbol?.includes(decision.symbol) || muted.source?.includes(decision.source));

function notify(row, decision) {
  if (isMuted(decision)) return;
  if (!FOLLOWING.has(decision.decision) || decision.confidence * 100 < Number(keeps.get("notice.confidence") ?? 50)) return;
  if (keeps.get("notice.sound") === "on") beep();
  if (keeps.get("notice.browser") !== "on" || Notification.permission !== "granted") return;
  const text = say("{word} {symbol}, {share}", { word: say(WORDS[decision.decision]), symbol: decision.symbol, share: percent(decision.confidence) });
  const notice = new Notification("Lens", { body: text, tag: decision.event_id });
  notice.addEventListener("click", () => {
    window.focus();
    location.href = row.querySelector(".to").href;
  });
}

function beep() {
  const audio = new AudioContext();
  const tone = audio.createOscillator();
  const volume = audio.createGain();
  tone.frequency.value = 880;
  volume.gain.setValueAtTime(0.08, audio.currentTime);
  volume.gain.exponentialRampToValueAtTime(0.0001, audio.currentTime + 0.25);
  tone.connect(volume).connect(audio.destination);
  tone.start();
  tone.stop(audio.currentTime + 0.25);
  tone.addEventListener("ended", () => audio.close());
}

function setUpNotices() {
  const browser = document.getElementById("notice-browser");
  const sound = document.getElementById("notice-sound");
  const least = document.getElementById("notice-confidence");
  browser.checked = keeps.get("notice.browser") === "on";
  sound.checked = keeps.get("notice.sound") === "on";
  least.value = keeps.get("notice.confidence") ?? "50";
  browser.addEventListener("change", async () => {
    const isAllowed = browser.checked && (await Notification.requestPermission()) === "granted";
    document.getElementById("notice-refused").hidden = isAllowed || !browser.checked;
    browser.checked = isAllowed;
    keeps.set("notice.browser", isAllowed ? "on" : "off");
  });
  sound.addEventListener("change", () => {
    keeps.set("notice.sound", sound.checked ? "on" : "off");
    if (sound.checked) beep();
  });
  least.addEventListener("change", () => keeps.set("notice.confidence", least.value));
}

// --- filters and kept views ----------------------------------------------------------------

function setUpFilters() {
  const form = document.getElementById("filters");
  const go = () => {
    const said = [...new FormData(form)].filter(([, value]) => value !== "");
    const search = new URLSearchParams(said).toString();
    location.assign(search ? `/board?${search}` : "/board");
  };
  const show = document.getElementById("show-filters");
  const open = (isOpen) => {
    form.classList.toggle("open", isOpen);
    show.setAttribute("aria-expanded", String(isOpen));
  };
  open(location.search !== "");
  show.addEventListener("click", () => open(!form.classList.contains("open")));
  form.addEventListener("change", go);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    go();
  });
  showViews();
  const keep = document.getElementById("keep-view");
  keep.hidden = location.search === "" || views().some((view) => view === location.search);
  keep.addEventListener("click", () => {
    keeps.set("views", JSON.stringify([...views(), location.search]));
    keep.hidden = true;
    showViews();
  });
}

function views() {
  try {
    return JSON.parse(keeps.get("views") ?? "[]").filter((view) => typeof view === "string");
  } catch {
    return [];
  }
}

function showViews() {
  const list = document.querySelector(".views-list");
  list.replaceChildren(
    ...views().map((view) => {
      const chip = document.createElement("span");
      chip.className = "chip";
      const link = document.createElement("a");
      link.href = `/board${view}`;
      link.textContent = [...new URLSearchParams(view).values()].join(" · ");
      const forget = document.createElement("button");
      forget.type = "button";
      forget.textContent = "×";
      forget.setAttribute("aria-label", say("forget this view"));
      forget.addEventListener("click", () => {
        keeps.set("views", JSON.stringify(views().filter((each) => each !== view)));
        showViews();
      });
      chip.append(link, forget);
      return chip;
    }),
  );
}

// --- keys and pointers ---------------------------------------------------------------------

function select(step) {
  const rows = [...body.querySelectorAll("tr[data-id]")];
  const at = rows.findIndex((row) => row.getAttribute("aria-selected") === "true");
  const next = rows[Math.min(rows.length - 1, Math.max(0, at + step))];
  if (!next) return;
  rows[at]?.removeAttribute("aria-selected");
  next.setAttribute("aria-selected", "true");
  next.querySelector(".to").focus({ preventScroll: true });
  next.scrollIntoView({ block: "nearest" });
}

function setUpKeys() {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
    if (document.querySelector("dialog[open]")) return;
    if (event.key === "j") select(1);
    else if (event.key === "k") select(-1);
    else if (event.key === "p") toggle();
  });
  body.addEventListener("click", (event) => {
    const row = event.target.closest("tr[data-id]");
    if (row && !event.target.closest("a, button") && getSelection().isCollapsed) row.querySelector(".to").click();
  });
}

// --- begin ---------------------------------------------------------------------------------

function reopen() {
  for (const row of body.querySelectorAll('tr[data-state="waiting"], tr[data-state="partial"]')) want(row.dataset.id, null);
}

for (const type of TYPES) feed.addEventListener(type, ({ detail }) => hear(detail));
feed.addEventListener("connected", ({ detail }) => {
  reopen();
  if (detail.awaySince && detail.missed) {
    const gap = document.getElementById("gap");
    const left = age((Date.now() - detail.awaySince) / 1000);
    gap.textContent = say("while you were away ({left}): {count} decisions", { left, count: detail.missed });
    gap.hidden = false;
  }
});
feed.addEventListener("error", ({ detail }) => {
  const gap = document.getElementById("gap");
  gap.textContent = detail.message;
  gap.hidden = false;
});
feed.addEventListener("gap", ({ detail }) => {
  const gap = document.getElementById("gap");
  gap.textContent = say("decisions {from} to {to} are not shown here", detail);
  gap.hidden = false;
});
document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  unseen = 0;
  document.title = title;
});
pause.addEventListener("click", toggle);
setUpNotices();
setUpFilters();
setUpKeys();
feed.subscribe({
  filters: {
    origin: ORIGINS[query.get("origin") ?? ""] ?? ORIGINS[""],
    ...(query.get("symbol") ? { symbol: query.get("symbol").trim().toUpperCase() } : {}),
    ...(query.get("source") ? { source: query.get("source").trim() } : {}),
  },
  types: TYPES,
  afterSeq: Number(board.dataset.seq),
});
setInterval(ageRows, STALE_EVERY_MS);
setInterval(speak, SPEAK_EVERY_MS);
setInterval(refreshTiles, TILES_EVERY_MS);
