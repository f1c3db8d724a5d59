/* Parallel coordinates: an axis for each parameter and the score, and a line through them for each trial. */

import { h, memo } from "./dom.js";
import { linear, logarithmic } from "./scale.js";
import { local, redraw } from "./store.js";
import { figureLabel, number } from "./words.js";

const HEIGHT = 300;
const TOP = 44;
const BOTTOM = 250; /* of axes; below it are trials that do not have the parameter */
const ABSENT = 276;
const SIDE = 60;

export function parallel(search) {
  const own = local(`parallel ${search.id}`, () => ({ width: 900, hover: null }));
  const rows = search.rows.filter((it) => Number.isFinite(it.value) && it.state !== "failed");
  const drawn = memo(`parallel ${search.id}`, [search, own.width], () => drawing(search, rows, own.width));
  const at = rows.find((it) => it.number === own.hover);
  const tell = (event) => {
    const box = event.currentTarget.getBoundingClientRect();
    set(own, closest(drawn, event.clientX - box.left, event.clientY - box.top));
  };
  const step = (event) => {
    const sorted = [...rows].sort((a, b) => a.number - b.number);
    const place = sorted.findIndex((it) => it.number === own.hover);
    const to = { ArrowRight: place + 1, ArrowLeft: place < 0 ? sorted.length - 1 : place - 1, Home: 0, End: sorted.length - 1 }[event.key];
    if (to === undefined || !sorted.length) return;
    event.preventDefault();
    set(own, sorted[Math.max(0, Math.min(sorted.length - 1, to))].number);
  };
  return h("figure", { class: "chart parallel", key: `parallel ${search.id}` },
    h("figcaption", {}, h("h3", {}, "Settings of each trial"), h("p", { class: "quiet" }, "A line is a trial, stronger in colour the better its score; dashed ones were pruned. A line runs below the axis of what its trial does not have.")),
    rows.length === 0 ? h("p", { class: "quiet empty" }, "No figures yet.") : h("div", { class: "scroll" }, h("div", { class: "plot", mount: (node) => measure(node, own) },
      h("svg", { width: drawn.width, height: HEIGHT, viewBox: `0 0 ${drawn.width} ${HEIGHT}`, tabindex: 0, role: "slider", "aria-label": "Settings of each trial: arrow keys go from trial to trial", "aria-valuemin": 0, "aria-valuemax": rows.length, "aria-valuenow": at ? at.number : 0, "aria-valuetext": at ? spoken(search, at) : "no trial", onpointermove: tell, onpointerleave: () => set(own, null), onkeydown: step, onblur: () => set(own, null) },
        drawn.marks,
        at && h("path", { class: "picked", d: drawn.paths.get(at.number) })))),
    h("p", { class: "quiet heat-words" }, at ? spoken(search, at) : "Point at a line, or use the arrow keys, to read its trial."));
}

function spoken(search, row) {
  return `Trial ${row.number}: ${figureLabel(search.metric)} ${number(row.value)}${row.state === "complete" ? "" : ` (${row.state})`}; ${Object.entries(row.settings).map(([key, value]) => `${key}=${value}`).join(", ")}`;
}

/* Axes by importance, the score last; where there is no room, wider than the page. */
function drawing(search, rows, room) {
  const parameters = [...search.parameters].sort((a, b) => (b.importance ?? 0) - (a.importance ?? 0));
  const values = rows.map((it) => it.value);
  const isLower = search.better === "lower";
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const isLog = isLower && low > 0 && high > 3 * low;
  const score = { name: search.metric, low: isLower ? high : low, high: isLower ? low : high, log: isLog, choices: [] };
  const width = Math.max(room, 2 * SIDE + 110 * parameters.length);
  const x = linear(0, parameters.length, SIDE, width - SIDE);
  const axes = [...parameters, score].map((it, at) => ({ ...it, x: x(at), y: placing(it) }));
  const better = linear(score.low, score.high, 0, 1);
  const points = new Map(rows.map((row) => [row.number, axes.map((axis, at) => [axis.x, at === parameters.length ? axis.y(row.value) : axis.name in row.parameters ? axis.y(row.parameters[axis.name]) : ABSENT])]));
  const paths = new Map([...points].map(([name, places]) => [name, places.map(([px, py], at) => `${at ? "L" : "M"}${px.toFixed(1)} ${py.toFixed(1)}`).join("")]));
  const ordered = [...rows].sort((a, b) => better(a.value) - better(b.value)); /* the best on top */
  const marks = h("g", { "aria-hidden": "true" },
    ordered.map((row) => h("path", { class: row.number === search.best ? "trial best" : row.state === "pruned" ? "trial pruned" : "trial", d: paths.get(row.number), "stroke-opacity": (0.12 + 0.88 * Math.max(0, better(row.value)) ** 2).toFixed(2) })),
    axes.map(axisMarks));
  return { width, marks, points, paths };
}

function placing(axis) {
  if (axis.choices.length) {
    const step = linear(0, Math.max(1, axis.choices.length - 1), BOTTOM - 14, TOP + 14);
    return (value) => step(axis.choices.indexOf(value));
  }
  return (axis.log ? logarithmic : linear)(axis.low, axis.high, BOTTOM, TOP);
}

function axisMarks(axis) {
  const ends = axis.choices.length ? axis.choices.map((it) => [String(it), axis.y(it) + 4]) : [[number(axis.high), TOP - 4], [number(axis.low), BOTTOM + 13]];
  const [head, tail] = halves(axis.name);
  return h("g", { class: "axis" }, h("line", { x1: axis.x, x2: axis.x, y1: TOP, y2: BOTTOM }),
    h("text", { class: "name", x: axis.x, y: 11, "text-anchor": "middle" }, h("title", {}, axis.name), head), h("text", { class: "name", x: axis.x, y: 25, "text-anchor": "middle" }, tail),
    ends.map(([words, y]) => h("text", { x: axis.x + (axis.choices.length ? 6 : 0), y, "text-anchor": axis.choices.length ? "start" : "middle" }, words.length > 16 ? `${words.slice(0, 15)}…` : words)));
}

/* A name in two lines: what it is of, and what it is. */
function halves(name) {
  const at = name.lastIndexOf(".");
  const short = (it) => (it.length > 17 ? `${it.slice(0, 16)}…` : it);
  return at < 0 ? ["", short(name)] : [short(name.slice(0, at)), short(name.slice(at + 1))];
}

/* The trial whose line is next to a place; null: none is near. */
function closest({ points }, px, py) {
  let [found, nearest] = [null, 14];
  for (const [name, places] of points) {
    const at = places.findIndex(([x]) => x >= px);
    if (at <= 0) continue;
    const [[x0, y0], [x1, y1]] = [places[at - 1], places[at]];
    const distance = Math.abs(y0 + ((px - x0) / (x1 - x0)) * (y1 - y0) - py);
    if (distance < nearest) [found, nearest] = [name, distance];
  }
  return found;
}

function set(own, hover) {
  if (own.hover === hover) return;
  own.hover = hover;
  redraw();
}

function measure(node, own) {
  new ResizeObserver(() => {
    const width = Math.max(320, Math.floor(node.parentElement.clientWidth));
    if (width !== own.width) {
      own.width = width;
      redraw();
    }
  }).observe(node.parentElement);
}
