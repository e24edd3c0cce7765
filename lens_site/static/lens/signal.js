/** The page of one signal: its chart, and the way to the signals beside it. */

import { ColorType, CandlestickSeries, LineStyle, createChart, createSeriesMarkers } from "./vendor/lightweight-charts-5.2.1.mjs";
import { price, stamp, zone } from "./format.js";
import { isTyping, say } from "./page.js";

const place = document.getElementById("chart");
const told = document.getElementById("chart-told");
const buttons = [...document.querySelectorAll("#timeframes [data-timeframe]")];
const STYLES = {
  entry: { token: "--accent", style: LineStyle.Solid },
  stop: { token: "--bad", style: LineStyle.Dashed },
  target: { token: "--good", style: LineStyle.Dashed },
  liquidation: { token: "--warn", style: LineStyle.Dotted },
};
const STRETCH = 2.2; // the liquidation is drawn unless it would make the scale so many times as wide
const PADDING = 0.06;
const ROOM_BARS = 9; // to the right, for the labels of the levels

let chart = null;
let answer = null;

/** Return the colour of a token as it is in the present theme. */
function colour(token) {
  const probe = document.createElement("i");
  probe.style.color = `var(${token})`;
  place.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

/** Return a colour half as strong, for what only hindsight knows. */
const faded = (rgb) => rgb.replace(/^rgba?\(([^,]+),([^,]+),([^,)]+).*$/, "rgba($1,$2,$3,0.38)");

function digits(value) {
  if (value >= 1000) return 1;
  return value >= 1 ? 3 : Math.min(8, 4 - Math.floor(Math.log10(value)));
}

function draw() {
  chart?.remove();
  const [up, down, text, line] = ["--good", "--bad", "--quiet", "--line"].map(colour);
  const options = { year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
  const label = new Intl.DateTimeFormat("sv-SE", { ...options, timeZone: zone() });
  const short = new Intl.DateTimeFormat("sv-SE", { hour: "2-digit", minute: "2-digit", hourCycle: "h23", timeZone: zone() });
  const day = new Intl.DateTimeFormat("sv-SE", { month: "2-digit", day: "2-digit", timeZone: zone() });
  chart = createChart(place, {
    autoSize: true,
    layout: { background: { type: ColorType.Solid, color: "transparent" }, textColor: text, attributionLogo: false, fontSize: 11, fontFamily: getComputedStyle(document.body).fontFamily },
    grid: { vertLines: { color: faded(line) }, horzLines: { color: faded(line) } },
    rightPriceScale: { borderColor: line },
    timeScale: { borderColor: line, timeVisible: true, tickMarkFormatter: (at, kind) => (kind < 3 ? day : short).format(at * 1000) },
    localization: { timeFormatter: (at) => label.format(at * 1000), priceFormatter: price },
    handleScroll: { vertTouchDrag: false, mouseWheel: false },
    handleScale: { mouseWheel: false },
    crosshair: { vertLine: { color: text, labelBackgroundColor: text }, horzLine: { color: text, labelBackgroundColor: text } },
  });
  const decided = Date.parse(answer.decided_at ?? answer.signal_at) / 1000;
  const entry = answer.levels.find((level) => level.key === "entry").price;
  const near = levelsInSight();
  const shown = near.map((level) => level.price);
  const precision = digits(entry);
  const series = chart.addSeries(CandlestickSeries, {
    upColor: up, downColor: down, wickUpColor: up, wickDownColor: down, borderVisible: false,
    lastValueVisible: false, priceLineVisible: false,
    priceFormat: { type: "price", precision, minMove: 10 ** -precision },
    // a level outside the candles would not be drawn: the scale is widened to hold all of them
    autoscaleInfoProvider: (original) => {
      const found = original();
      if (!found?.priceRange) return found;
      const least = Math.min(found.priceRange.minValue, ...shown);
      const most = Math.max(found.priceRange.maxValue, ...shown);
      const room = (most - least) * PADDING;
      return { ...found, priceRange: { minValue: least - room, maxValue: most + room } };
    },
  });
  series.setData(
    answer.candles.map(([time, open, high, low, close]) => {
      const bar = { time, open, high, low, close };
      if (time + answer.timeframe_s <= decided) return bar;
      const pale = faded(close >= open ? up : down);
      return { ...bar, color: pale, wickColor: pale };
    }),
  );
  for (const level of near) {
    const { token, style } = STYLES[level.key];
    series.createPriceLine({ price: level.price, color: colour(token), lineWidth: 2, lineStyle: style, axisLabelVisible: true, title: say(level.key) });
  }
  mark(series, decided);
  chart.timeScale().setVisibleLogicalRange({ from: -1, to: answer.candles.length + ROOM_BARS });
}

/** Return the levels that leave the candles readable; the others are told in words. */
function levelsInSight() {
  const { candles, levels } = answer;
  const planned = levels.filter((level) => level.key !== "liquidation").map((level) => level.price);
  const least = Math.min(...planned, ...candles.map((bar) => bar[3]));
  const most = Math.max(...planned, ...candles.map((bar) => bar[2]));
  const fits = (at) => Math.max(most, at) - Math.min(least, at) <= STRETCH * (most - least);
  return levels.filter((level) => level.key !== "liquidation" || fits(level.price));
}

/** Mark the candle in which the signal came; what follows is hindsight. */
function mark(series, decided) {
  const at = [...answer.candles].reverse().find(([time]) => time <= decided);
  if (!at) return;
  createSeriesMarkers(series, [{ time: at[0], position: "aboveBar", color: colour("--accent"), shape: "arrowDown", text: say("signal") }]);
}

function tell() {
  const last = answer.candles.at(-1);
  const decided = Date.parse(answer.decided_at ?? answer.signal_at) / 1000;
  const after = answer.candles.filter(([time]) => time + answer.timeframe_s > decided).length;
  const parts = [
    say("{count} closed candles of {timeframe}, the last at {at}", {
      count: answer.candles.length,
      timeframe: answer.timeframe,
      at: last ? stamp((last[0] + answer.timeframe_s) * 1000) : "–",
    }),
    after ? say("{after} of them after the decision, drawn pale", { after }) : say("none of them after the decision"),
  ];
  const hidden = answer.levels.filter((level) => !levelsInSight().includes(level));
  for (const level of hidden) parts.push(say("{level} lies off the chart at {price}", { level: say(level.key), price: price(level.price) }));
  if (answer.simulated) parts.push(say("SIMULATED market"));
  told.textContent = `${parts.join("; ")}.`;
}

async function load(timeframe) {
  for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.timeframe === timeframe));
  place.setAttribute("aria-busy", "true");
  try {
    const found = await fetch(`${place.dataset.source}?timeframe=${encodeURIComponent(timeframe)}`, { headers: { Accept: "application/json" } });
    const isJson = /json/.test(found.headers.get("content-type") ?? "");
    const body = isJson ? await found.json() : {};
    if (!body.candles) throw new Error(body.why ?? say("the server answered {status}", { status: found.status }));
    answer = body;
    draw();
    tell();
  } catch (error) {
    told.textContent = say("The candles cannot be had now: {why}", { why: error.message });
  } finally {
    place.removeAttribute("aria-busy");
  }
}

function openTexts() {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target?.tagName === "DETAILS") target.open = true;
}

for (const button of buttons) button.addEventListener("click", () => load(button.dataset.timeframe));
document.addEventListener("lens:display", () => answer && draw());
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => answer && draw());
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target) || document.querySelector("dialog[open]")) return;
  const link = { j: "older", k: "newer" }[event.key];
  if (link) document.getElementById(link)?.click();
});
window.addEventListener("hashchange", openTexts);
openTexts();
if (buttons.length) load(buttons[0].dataset.timeframe);
