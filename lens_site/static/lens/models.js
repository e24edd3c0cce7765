/** The charts of Models, drawn with uPlot: cost against time, and faults hour by hour. */

import { span, usd, zone } from "./format.js";

const HEIGHT = 240;
const STRIPES = ["--bad", "--warn", "--accent", "--demo", "--quiet"]; // causes beyond them share the last
const charts = new Map();

/** Return the colour of a token as it is in the present theme. */
function colour(place, token) {
  const probe = document.createElement("i");
  probe.style.color = `var(${token})`;
  place.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

function axis(place, more) {
  const line = colour(place, "--line");
  return { stroke: colour(place, "--quiet"), grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 }, ...more };
}

const middle = (values) => [...values].sort((a, b) => a - b)[Math.ceil(values.length / 2) - 1];

/** Draw the answers of one model as dots, and its letter where their middle is. */
function dots(letter, fill, text, ground) {
  return (plot, at) => {
    window.uPlot.orient(plot, at, (series, xs, ys, x, y, toX, toY, left, top, width, height, moveTo, lineTo, rect, arc) => {
      const [times, costs] = plot.data[at];
      const size = 3 * devicePixelRatio;
      const place = (ms, cost) => [toX(ms, x, width, left), toY(cost, y, height, top)];
      const drawn = new Path2D();
      times.forEach((ms, each) => {
        const [px, py] = place(ms, costs[each]);
        drawn.moveTo(px + size, py);
        arc(drawn, px, py, size, 0, 2 * Math.PI);
      });
      const { ctx } = plot;
      ctx.save();
      ctx.globalAlpha = 0.45;
      ctx.fillStyle = fill;
      ctx.fill(drawn);
      ctx.globalAlpha = 1;
      ctx.font = `700 ${13 * devicePixelRatio}px ${getComputedStyle(document.body).fontFamily}`;
      ctx.textAlign = "center";
      ctx.textBaseline = "middle";
      ctx.lineWidth = 4 * devicePixelRatio;
      ctx.strokeStyle = ground;
      ctx.fillStyle = text;
      const [px, py] = place(middle(times), middle(costs));
      ctx.strokeText(letter, px, py);
      ctx.fillText(letter, px, py);
      ctx.restore();
    });
    return null;
  };
}

/** Give a scale room beyond its values, from nothing on. */
const fromZero = (plot, least, most) => [0, (most || 1) * 1.08];

function drawSpread(place, told) {
  const text = colour(place, "--text");
  const ground = colour(place, "--surface");
  const facets = [{ scale: "x", auto: true }, { scale: "y", auto: true }];
  return new window.uPlot(
    {
      mode: 2, width: place.clientWidth, height: HEIGHT,
      legend: { show: false }, cursor: { show: false },
      scales: { x: { time: false, range: fromZero }, y: { range: fromZero } },
      axes: [axis(place, { values: (plot, at) => at.map(span) }), axis(place, { values: (plot, at) => at.map(usd), size: 64 })],
      series: [{}, ...told.map(({ letter }, at) => ({ facets, paths: dots(letter, colour(place, STRIPES[(at + 2) % STRIPES.length]), text, ground) }))],
    },
    [null, ...told.map((each) => [each.dots.map(([ms]) => ms), each.dots.map(([, cost]) => cost)])],
    place,
  );
}

/** Stack the causes: the last series reaches to the top, and each covers what lies beneath it. */
function drawHours(place, { since, causes }) {
  const sums = since.map(() => 0);
  const stacked = causes.map(({ cause, counts }, at) => {
    counts.forEach((count, hour) => (sums[hour] += count));
    return { cause, fill: colour(place, STRIPES[Math.min(at, STRIPES.length - 1)]), tops: [...sums] };
  });
  stacked.reverse();
  const hour = new Intl.DateTimeFormat("sv-SE", { hour: "2-digit", minute: "2-digit", hourCycle: "h23", timeZone: zone() });
  return new window.uPlot(
    {
      width: place.clientWidth, height: HEIGHT, cursor: { show: false }, legend: { live: false },
      scales: { x: { range: (plot, least, most) => [least - 1_800, most + 1_800] }, y: { range: fromZero } },
      axes: [axis(place, { values: (plot, at) => at.map((each) => hour.format(each * 1_000)) }), axis(place, { size: 40, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500] })],
      series: [{}, ...stacked.map(({ cause, fill }) => ({ label: cause, fill, stroke: fill, width: 0, points: { show: false }, paths: window.uPlot.paths.bars({ size: [0.7, 60] }) }))],
    },
    [since, ...stacked.map(({ tops }) => tops)],
    place,
  );
}

const DRAW = { spread: drawSpread, hours: drawHours };

function draw() {
  for (const place of document.querySelectorAll("[data-chart]")) {
    charts.get(place)?.destroy();
    charts.set(place, DRAW[place.dataset.chart](place, JSON.parse(place.dataset.told)));
  }
}

draw();
const sizes = new ResizeObserver((seen) => {
  for (const { target } of seen) charts.get(target)?.setSize({ width: target.clientWidth, height: HEIGHT });
});
for (const place of charts.keys()) sizes.observe(place);
document.addEventListener("lens:display", draw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
