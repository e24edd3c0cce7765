/**
 * The public WebSocket protocol (/ws/decisions), opened with the session cookie: subscribes,
 * resumes from the last number after a break, and tells how it stands.
 */

const PING_EVERY_MS = 10_000;
const SILENT_AFTER_MS = 45_000;
const WAITS_MS = [500, 1_000, 2_000, 5_000, 10_000, 15_000];
const SIGNED_OUT = new Set([4401, 4403]);

export class Feed extends EventTarget {
  #socket = null;
  #tries = 0;
  #since = null;
  #pinged = 0;
  #heard = 0;
  #timers = new Set();
  #wish = null;
  #target = 0;
  #missed = 0;
  #ended = false;
  #admitted = false;

  /** The last number seen; null before the first. */
  seq = null;

  open() {
    if (this.#ended || this.#socket) return;
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(`${scheme}//${location.host}/ws/decisions`);
    this.#socket = socket;
    this.#heard = Date.now();
    socket.addEventListener("message", (event) => this.#hear(JSON.parse(event.data)));
    socket.addEventListener("close", (event) => this.#closed(socket, event.code));
    if (this.#since === null) this.#tell({ state: "waiting" });
  }

  /** Ask for messages; a place given, or the last one known, is where it goes on. */
  subscribe({ filters = {}, types = ["decision"], afterSeq = null } = {}) {
    this.#wish = { filters, types };
    if (afterSeq !== null) this.seq = afterSeq;
    if (this.#admitted) this.#ask();
  }

  /** End for good. */
  close() {
    this.#ended = true;
    this.#socket?.close(1000);
  }

  #ask() {
    if (!this.#wish) return;
    const message = { action: "subscribe", ...this.#wish };
    if (this.seq !== null) message.after_seq = this.seq;
    this.#socket.send(JSON.stringify(message));
  }

  #hear(message) {
    this.#heard = Date.now();
    if (message.type === "connected") this.#connected(message);
    else if (message.type === "pong") this.#tell({ state: "live", ms: Math.round(performance.now() - this.#pinged) });
    else if (message.type === "decision") this.#decided(message);
    else if (message.type === "gap") this.seq = message.to;
    else if (message.type === "goodbye") this.goodbye = message;
    if (!["pong", "connected", "ping"].includes(message.type)) {
      this.dispatchEvent(new CustomEvent(message.type, { detail: message }));
    }
  }

  #connected(message) {
    this.#tries = 0;
    this.#admitted = true;
    const isBack = this.#wish && this.#since !== null && this.seq !== null;
    const missed = isBack ? message.last_seq - this.seq : 0;
    this.#target = message.last_seq;
    this.#missed = Math.max(0, missed);
    const wasAway = this.#since;
    this.#since = null;
    if (this.seq === null) this.seq = message.last_seq;
    this.dispatchEvent(new CustomEvent("connected", { detail: { awaySince: wasAway, missed: this.#missed } }));
    this.#ask();
    if (this.#missed > 0) this.#tell({ state: "replaying", missed: this.#missed });
    this.#ping();
    this.#every(PING_EVERY_MS, () => this.#ping());
  }

  #decided(message) {
    const isReplayed = message.seq <= this.#target && this.#missed > 0;
    this.seq = message.seq;
    message.isReplayed = isReplayed;
    if (isReplayed) this.#tell({ state: "replaying", missed: Math.max(0, this.#target - message.seq) });
    if (message.seq >= this.#target && this.#missed > 0) {
      this.#missed = 0;
      this.#ping();
    }
  }

  #ping() {
    if (this.#socket?.readyState !== WebSocket.OPEN) return;
    if (Date.now() - this.#heard > SILENT_AFTER_MS) {
      this.#socket.close();
      return;
    }
    this.#pinged = performance.now();
    this.#socket.send('{"action":"ping"}');
  }

  #closed(socket, code) {
    if (socket !== this.#socket) return;
    this.#socket = null;
    this.#admitted = false;
    for (const timer of this.#timers) clearInterval(timer);
    this.#timers.clear();
    this.#since ??= new Date();
    if (this.#ended) return;
    if (SIGNED_OUT.has(code)) {
      this.#ended = true;
      this.#tell({ state: "offline", since: this.#since, why: "signed out" });
      return;
    }
    const wait = WAITS_MS[Math.min(this.#tries, WAITS_MS.length - 1)] * (0.8 + Math.random() * 0.4);
    this.#tries += 1;
    const due = Date.now() + wait;
    const say = () => {
      const seconds = Math.max(0, Math.ceil((due - Date.now()) / 1000));
      const state = navigator.onLine && this.#tries <= 3 ? "waiting" : "offline";
      this.#tell({ state, seconds, since: this.#since });
    };
    say();
    const counting = this.#every(1_000, say);
    setTimeout(() => {
      clearInterval(counting);
      this.#timers.delete(counting);
      this.open();
    }, wait);
  }

  #every(ms, act) {
    const timer = setInterval(act, ms);
    this.#timers.add(timer);
    return timer;
  }

  #tell(standing) {
    this.dispatchEvent(new CustomEvent("standing", { detail: standing }));
  }
}

/** The one connection of this page. */
export const feed = new Feed();
