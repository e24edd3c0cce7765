/** The Connect page: tabs, the market's price in the snippets, and the WebSocket tester. */

import { say } from "./page.js";

const LOG_MAX = 50;

function setUpTabs() {
  for (const list of document.querySelectorAll("[data-tabs]")) {
    const tabs = [...list.querySelectorAll('[role="tab"]')];
    const show = (chosen, focus = false) => {
      for (const tab of tabs) {
        const isChosen = tab === chosen;
        tab.setAttribute("aria-selected", String(isChosen));
        tab.tabIndex = isChosen ? 0 : -1;
        document.getElementById(tab.getAttribute("aria-controls")).hidden = !isChosen;
      }
      if (focus) chosen.focus();
      history.replaceState(history.state, "", `#${chosen.id.replace("tab-", "")}`);
    };
    list.addEventListener("click", (event) => {
      const tab = event.target.closest('[role="tab"]');
      if (tab) show(tab);
    });
    list.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      const at = tabs.findIndex((tab) => tab.getAttribute("aria-selected") === "true");
      show(tabs[(at + step + tabs.length) % tabs.length], true);
    });
    const wanted = list.dataset.chosen !== "curl" ? list.dataset.chosen : location.hash.slice(1);
    show(tabs.find((tab) => tab.id === `tab-${wanted}`) ?? tabs[0]);
  }
}

/** A price as one types it: about seven digits. */
const typed = (value) => String(Number(value.toPrecision(7)));

async function askMarket() {
  const note = document.getElementById("market");
  if (!note) return;
  const part = (name) => note.querySelector(`[data-market-${name}]`);
  let told = {};
  try {
    const answer = await fetch(note.dataset.marketUrl, { headers: { Accept: "application/json" } });
    if (answer.ok) told = await answer.json();
  } catch {
    /* told stays empty: the page says that there is no price */
  }
  const isKnown = typeof told.mid === "number";
  part("asking").hidden = true;
  part(isKnown ? "good" : "bad").hidden = false;
  if (!isKnown) return;
  part("said").textContent = `${told.symbol} ${typed(told.mid)}`;
  const values = { price: typed(told.mid), liquidation: typed(told.mid * 0.9) };
  for (const place of document.querySelectorAll("[data-market]")) {
    place.textContent = values[place.dataset.market] ?? place.textContent;
  }
}

/** Let the first steps know that a key was listened with; the session opened the socket. */
function tellListened() {
  const headers = JSON.parse(document.body.getAttribute("hx-headers:inherited") ?? "{}");
  fetch("/connect/listened", { method: "POST", headers }).catch(() => {});
}

function setUpTester() {
  const form = document.querySelector("[data-tester]");
  if (!form) return;
  const state = document.querySelector("[data-tester-state]");
  const log = document.querySelector("[data-tester-log]");
  const leave = form.querySelector("[data-tester-close]");
  let socket = null;

  const write = (direction, text) => {
    const line = document.createElement("li");
    line.className = direction;
    line.textContent = `${new Date().toISOString().slice(11, 19)} ${direction === "sent" ? "→" : "←"} ${text}`;
    log.prepend(line);
    while (log.children.length > LOG_MAX) log.lastChild.remove();
  };
  const send = (message, shown = message) => {
    socket.send(JSON.stringify(message));
    write("sent", JSON.stringify(shown));
  };
  const subscribe = () => {
    const filters = {};
    if (form.elements.symbol.value.trim()) filters.symbol = form.elements.symbol.value.trim().toUpperCase();
    if (form.elements.model.value.trim()) filters.model = form.elements.model.value.trim();
    if (form.elements.demo.checked) filters.origin = ["LIVE", "DEMO"];
    send({ action: "subscribe", filters });
  };

  /** Return a ticket for one socket: a browser cannot send a key as a header of the socket itself. */
  const ticketFor = async (key) => {
    write("sent", `POST /api/v1/ws-tickets  X-API-Key: ${key.slice(0, 18)}…`);
    const answer = await fetch("/api/v1/ws-tickets", { method: "POST", headers: { "X-API-Key": key }, credentials: "omit" });
    const body = await answer.json();
    if (!answer.ok) write("heard", JSON.stringify(body));
    return answer.ok ? body.ticket : null;
  };

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    socket?.close(1000);
    const key = form.elements.key.value.trim();
    state.textContent = form.dataset.connecting ?? "…";
    const ticket = key ? await ticketFor(key).catch(() => null) : "";
    if (ticket === null) {
      state.textContent = say("not connected; the answer below says why");
      return;
    }
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const address = `${scheme}//${location.host}/ws/decisions`;
    const opened = new WebSocket(ticket ? `${address}?ticket=${encodeURIComponent(ticket)}` : address);
    socket = opened;
    leave.hidden = false;
    opened.addEventListener("open", () => {
      state.textContent = `connected to ${address}`;
      subscribe();
    });
    opened.addEventListener("message", ({ data }) => {
      write("heard", data);
      if (key && data.startsWith('{"type":"subscribed"')) tellListened();
    });
    opened.addEventListener("close", ({ code, reason }) => {
      if (socket !== opened) return;
      state.textContent = `closed: ${code}${reason ? ` ${reason}` : ""}`;
      leave.hidden = true;
    });
  });
  leave.addEventListener("click", () => socket?.close(1000));
  addEventListener("pagehide", () => socket?.close(1000));
}

setUpTabs();
setUpTester();
askMarket();
