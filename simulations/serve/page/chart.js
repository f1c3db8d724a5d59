/* Line charts: hover or arrow keys read values, dragging zooms, a table has all figures. */

import { h, memo } from "./dom.js";
import { limits, linear, logarithmic, logTicks, nearest, ticks, tickWords } from "./scale.js";
import { local, redraw } from "./store.js";
import { number } from "./words.js";

const TONES = 8;
const MARGIN = { left: 48, right: 14, top: 10, bottom: 26 };
const MOST_ROWS = 400;
const MOST_TOLD = 12;

/* Draws curves.
   series: [{name, points: [[x, y or null], ...], isDots}], at most a dozen are told apart well; isDots: without lines.
   Options: id, title, note, xLabel, xFormat, isLog (at first), mark (an x to show), onPick(x), height. */
export function lineChart({ id, title, note, series, xLabel = "round", xFormat = String, isLog = false, mark = null, onPick = null, height = 220 }) {
  const own = local(`chart ${id}`, () => ({ id, width: 560, hover: null, range: null, drag: null, hidden: new Set(), isLog, hasTable: false }));
  const shown = series.map((it, at) => ({ ...it, tone: it.tone ?? at % TONES, dash: at >= TONES })).filter((it) => it.points.length);
  const seen = shown.filter((it) => !own.hidden.has(it.name));
  const xs = memo(`${id} xs`, series.map((it) => it.points), () => [...new Set(shown.flatMap((it) => it.points.map(([x]) => x)))].sort((a, b) => a - b));
  const body = xs.length
    ? [legend(own, shown), plot(own, { title, seen, xs, xLabel, xFormat, mark, onPick, height }), tools(own, xs), table(own, { title, shown, xs, xLabel, xFormat })]
    : [h("p", { class: "quiet empty" }, "No figures yet.")];
  return h("figure", { class: "chart", key: id }, h("figcaption", {}, h("h3", {}, title), note && h("p", { class: "quiet" }, note)), body);
}

function legend(own, shown) {
  if (shown.length < 2) return null;
  const toggle = (name) => () => {
    if (!own.hidden.delete(name)) own.hidden.add(name);
    redraw();
  };
  return h("div", { class: "legend", role: "group", "aria-label": "Curves" }, shown.map((it) =>
    h("button", { key: it.name, type: "button", "aria-pressed": String(!own.hidden.has(it.name)), onclick: toggle(it.name), title: `Show or hide ${it.name}` },
      h("i", { class: `swatch s${it.tone}${it.dash ? " dashed" : ""}` }), it.name)));
}

function plot(own, { title, seen, xs, xLabel, xFormat, mark, onPick, height }) {
  const [first, last] = own.range ?? [xs[0], xs.at(-1)];
  const inside = xs.filter((x) => x >= first && x <= last);
  const depends = [own.width, own.isLog, height, first, last, xLabel, ...seen.map((it) => it.points), ...seen.map((it) => it.name)];
  const { x, y, drawn, invert } = memo(`plot ${own.id}`, depends, () => drawing(own, { seen, first, last, height, xLabel, xFormat }));
  const at = own.hover !== null && inside.includes(own.hover) ? own.hover : null;
  const read = (event) => {
    const box = event.currentTarget.getBoundingClientRect();
    return nearest(inside.length ? inside : xs, invert(event.clientX - box.left));
  };
  const handlers = pointing(own, { read, onPick });
  const valuesAt = (place) => seen.map((it) => [it, it.points.find(([px]) => px === place)?.[1]]).filter(([, value]) => value !== null && value !== undefined);
  const spoken = (place) => `${xLabel} ${xFormat(place)}: ${valuesAt(place).map(([it, value]) => `${it.name} ${number(value)}`).join(", ") || "no figures"}`;
  const now = at ?? last;
  return h("div", { class: "plot", mount: (node) => measure(node, own) },
    h("svg", {
      width: own.width, height, viewBox: `0 0 ${own.width} ${height}`, tabindex: 0, role: "slider",
      "aria-label": `${title}: arrow keys read values, plus and minus zoom`, "aria-valuemin": xs[0], "aria-valuemax": xs.at(-1), "aria-valuenow": now, "aria-valuetext": spoken(now),
      ...handlers, onkeydown: keys(own, { xs, inside, onPick }), onblur: () => set(own, { hover: null }),
    },
    drawn,
    own.drag && h("rect", { class: "drag", x: Math.min(x(own.drag[0]), x(own.drag[1])), y: MARGIN.top, width: Math.abs(x(own.drag[1]) - x(own.drag[0])), height: height - MARGIN.top - MARGIN.bottom }),
    mark !== null && mark >= first && mark <= last && h("line", { class: "mark", x1: x(mark), x2: x(mark), y1: MARGIN.top, y2: height - MARGIN.bottom }),
    at !== null && [
      h("line", { class: "cross", x1: x(at), x2: x(at), y1: MARGIN.top, y2: height - MARGIN.bottom }),
      valuesAt(at).filter(([, value]) => !own.isLog || value > 0).map(([it, value]) => h("circle", { class: `dot s${it.tone}`, cx: x(at), cy: y(value), r: 4 })),
    ]),
    at !== null && tip(own, x(at), `${xLabel} ${xFormat(at)}`, valuesAt(at)));
}

function tip(own, left, head, values) {
  const isRight = left > own.width / 2;
  return h("div", { class: "tip", "aria-hidden": "true", style: isRight ? { right: `${own.width - left + 10}px` } : { left: `${left + 10}px` } },
    h("b", {}, head),
    values.slice(0, MOST_TOLD).map(([it, value]) => h("span", {}, h("i", { class: `swatch s${it.tone}${it.dash ? " dashed" : ""}` }), it.name, h("em", {}, number(value)))),
    values.length > MOST_TOLD && h("span", {}, `and ${values.length - MOST_TOLD} more`));
}

function drawing(own, { seen, first, last, height, xLabel, xFormat }) {
  const ys = seen.flatMap((it) => it.points.filter(([x, y]) => y !== null && x >= first && x <= last).map(([, y]) => y));
  const isLog = own.isLog && ys.some((value) => value > 0);
  const [low, high] = limits(ys, isLog);
  const pad = first === last ? 0.5 : 0;
  const x = linear(first - pad, last + pad, MARGIN.left, own.width - MARGIN.right);
  const y = (isLog ? logarithmic : linear)(low, high, height - MARGIN.bottom, MARGIN.top);
  const invert = linear(MARGIN.left, own.width - MARGIN.right, first - pad, last + pad);
  const yTicks = isLog ? logTicks(low, high) : ticks(low, high, 4);
  const yWords = tickWords(yTicks);
  const isRounds = xLabel === "round";
  const xTicks = ticks(first, last, Math.max(3, own.width / (isRounds ? 48 : 90)), isRounds);
  const drawn = h("g", { "aria-hidden": "true" },
    yTicks.map((it, at) => h("g", { class: "grid" }, h("line", { x1: MARGIN.left, x2: own.width - MARGIN.right, y1: y(it), y2: y(it) }), h("text", { x: MARGIN.left - 7, y: y(it) + 4, "text-anchor": "end" }, yWords[at]))),
    xTicks.map((it) => h("text", { class: "tick", x: x(it), y: height - 8, "text-anchor": "middle" }, xFormat(it))),
    seen.map((it) => curve(it, { x, y, first, last, isLog })));
  return { x, y, invert, drawn };
}

function curve(it, { x, y, first, last, isLog }) {
  const points = it.points.filter(([px, py]) => py !== null && Number.isFinite(py) && (!isLog || py > 0));
  const near = points.filter(([px], at) => (points[at + 1]?.[0] ?? px) >= first && (points[at - 1]?.[0] ?? px) <= last);
  const path = near.map(([px, py], at) => `${at ? "L" : "M"}${x(px).toFixed(1)} ${y(py).toFixed(1)}`).join("");
  const dots = near.length <= 40 || it.isDots ? near.filter(([px]) => px >= first && px <= last) : [];
  return h("g", { class: `curve s${it.tone}${it.dash ? " dashed" : ""}` }, h("path", { d: it.isDots ? "M0 0" : path || "M0 0" }), dots.map(([px, py]) => h("circle", { cx: x(px), cy: y(py), r: it.isDots ? 3.4 : 2.2 })));
}

function pointing(own, { read, onPick }) {
  return {
    onpointermove: (event) => {
      const place = read(event);
      set(own, { hover: place, drag: own.drag && event.pointerType === "mouse" ? [own.drag[0], place] : own.drag });
    },
    onpointerleave: () => set(own, { hover: null, drag: null }),
    onpointerdown: (event) => {
      const place = read(event);
      own.drag = event.pointerType === "mouse" && event.button === 0 ? [place, place] : null;
      set(own, { hover: place });
    },
    onpointerup: (event) => {
      const drag = own.drag;
      own.drag = null;
      if (drag && drag[0] !== drag[1]) own.range = [Math.min(...drag), Math.max(...drag)];
      else onPick?.(read(event));
      redraw();
    },
    ondblclick: () => set(own, { range: null }),
  };
}

function keys(own, { xs, inside, onPick }) {
  return (event) => {
    const places = inside.length ? inside : xs;
    const at = own.hover === null ? places.length - 1 : places.indexOf(own.hover);
    const to = { ArrowLeft: own.hover === null ? at : at - 1, ArrowRight: at + 1, Home: 0, End: places.length - 1 }[event.key];
    if (to !== undefined) set(own, { hover: places[Math.max(0, Math.min(places.length - 1, to))] });
    else if (event.key === "+" || event.key === "=") zoom(own, xs, 0.5);
    else if (event.key === "-") zoom(own, xs, 2);
    else if (event.key === "0" || event.key === "Escape") set(own, { range: null });
    else if (event.key === "Enter" && own.hover !== null) onPick?.(own.hover);
    else return;
    event.preventDefault();
  };
}

/* Shows a share of what is shown, around what is read or else its end. */
function zoom(own, xs, factor) {
  const whole = [xs[0], xs.at(-1)];
  const [first, last] = own.range ?? whole;
  const span = (last - first) * factor;
  const centre = own.hover ?? (first + last) / 2;
  const low = Math.max(whole[0], Math.min(centre - span / 2, whole[1] - span));
  const range = [low, Math.min(whole[1], low + span)];
  if (xs.filter((x) => x >= range[0] && x <= range[1]).length < 2) return;
  set(own, { range: range[0] <= whole[0] && range[1] >= whole[1] ? null : range });
}

function tools(own, xs) {
  const button = (label, words, onclick, more = {}) => h("button", { type: "button", class: "small", "aria-label": words, title: words, onclick, ...more }, label);
  return h("div", { class: "tools" },
    button("+", "Zoom in", () => zoom(own, xs, 0.5)),
    button("−", "Zoom out", () => zoom(own, xs, 2), { disabled: !own.range }),
    own.range && button("all", "Show all rounds", () => set(own, { range: null })),
    button("log", "Logarithmic scale", () => set(own, { isLog: !own.isLog }), { "aria-pressed": String(own.isLog) }),
    button("table", "Figures as a table", () => set(own, { hasTable: !own.hasTable }), { "aria-expanded": String(own.hasTable) }));
}

function table(own, { title, shown, xs, xLabel, xFormat }) {
  if (!own.hasTable) return null;
  const kept = xs.length > MOST_ROWS ? xs.filter((_, at) => at % Math.ceil(xs.length / MOST_ROWS) === 0) : xs;
  const columns = shown.map((it) => new Map(it.points));
  return h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": `${title}, as a table` }, h("table", { class: "figures" },
    h("caption", { class: "unseen" }, title),
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, xLabel), shown.map((it) => h("th", { scope: "col" }, it.name)))),
    h("tbody", {}, kept.map((x) => h("tr", {}, h("th", { scope: "row" }, xFormat(x)), columns.map((it) => h("td", {}, number(it.get(x)))))))));
}

function set(own, changes) {
  Object.assign(own, changes);
  redraw();
}

/* Charts have as many pixels as there are, so that their words keep their size. */
function measure(node, own) {
  new ResizeObserver(([entry]) => {
    const width = Math.max(220, Math.floor(entry.contentRect.width));
    if (width !== own.width) set(own, { width });
  }).observe(node);
}

/* A curve as small as a word. */
export function sparkline(points, { width = 110, height = 30, isLog = false, label = "" } = {}) {
  const sound = points.filter(([, y]) => Number.isFinite(y) && (!isLog || y > 0));
  if (sound.length < 2) return null;
  const [low, high] = limits(sound.map(([, y]) => y), isLog);
  const x = linear(sound[0][0], sound.at(-1)[0], 3, width - 4);
  const y = (isLog ? logarithmic : linear)(low, high, height - 3, 3);
  const [lastX, lastY] = sound.at(-1);
  return h("svg", { class: "spark", width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label },
    h("path", { d: sound.map(([px, py], at) => `${at ? "L" : "M"}${x(px).toFixed(1)} ${y(py).toFixed(1)}`).join("") }),
    h("circle", { cx: x(lastX), cy: y(lastY), r: 2.5 }));
}
