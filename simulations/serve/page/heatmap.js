/* Clients by rounds: one cell a client and round, stronger in colour for more; who was left out stands out. */

import { h, memo } from "./dom.js";
import { clientHref, showRound } from "./parts.js";
import { local, redraw } from "./store.js";
import { clientName, figureLabel, number, rank } from "./words.js";

const MOST_COLUMNS = 120;
const MOST_ROWS = 60;
const LABEL = 34;
const HEIGHT = 20;

export function heatmap(run, mark) {
  const rows = run["client-table"].slice(0, MOST_ROWS);
  const rounds = run.curves.rounds;
  const keys = [...new Set(rows.flatMap((row) => Object.keys(row.curves)))].sort(byImportance);
  if (!keys.length) return null;
  const own = local(`heatmap ${run.id}`, () => ({ key: keys.includes("drift") ? "drift" : keys[0], width: 600, words: "" }));
  if (!keys.includes(own.key)) own.key = keys[0];
  const step = Math.ceil(rounds.length / MOST_COLUMNS);
  const columns = rounds.map((_, at) => at).filter((at) => (rounds.length - 1 - at) % step === 0);
  const cell = (own.width - LABEL) / columns.length;
  const height = rows.length * HEIGHT;
  const drawn = memo(`heatmap ${run.id}`, [run, own.key, own.width], () => cells(run, own, { rows, columns, cell }));
  const place = (event) => {
    const box = event.currentTarget.getBoundingClientRect();
    const at = columns[Math.floor((event.clientX - box.left - LABEL) / cell)];
    const row = rows[Math.floor((event.clientY - box.top) / HEIGHT)];
    return at === undefined || !row ? null : { at, row };
  };
  const tell = (event) => {
    const found = place(event);
    own.words = found ? inWords(run, found.row, rounds[found.at], found.at, own.key) : "";
    redraw();
  };
  const marked = mark === null ? -1 : columns.findIndex((at) => rounds[at] >= mark);
  return h("section", { class: "card", "aria-labelledby": "heat-title" },
    h("div", { class: "row" }, h("h2", { id: "heat-title", class: "grow" }, "Clients over rounds"),
      h("label", { class: "field" }, h("span", {}, "Figure"), h("select", { value: own.key, onchange: (event) => { own.key = event.currentTarget.value; redraw(); } }, keys.map((key) => h("option", { key, value: key }, figureLabel(key)))))),
    h("div", { class: "heat", mount: (node) => measure(node, own) },
      h("svg", { width: own.width, height: height + 18, role: "img", "aria-label": `${figureLabel(own.key)} of each client over the rounds; the table below has the latest figures, and each client's page all of them`, onpointermove: tell, onpointerleave: () => { own.words = ""; redraw(); }, onclick: (event) => { const found = place(event); if (found) showRound(rounds[found.at]); } },
        drawn,
        marked >= 0 && h("rect", { class: "column", x: LABEL + marked * cell, y: 0.5, width: cell, height: height - 1 }))),
    h("p", { class: "quiet heat-words" }, own.words || ["Stronger colour is more. ", h("span", { class: "key-refused" }), " left out ", h("span", { class: "key-none" }), " not selected. Click on a round to look at it."]),
    run["client-table"].length > MOST_ROWS && h("p", { class: "quiet" }, `The first ${MOST_ROWS} of ${run["client-table"].length} clients.`));
}

const byImportance = (a, b) => rank(a) - rank(b) || a.localeCompare(b);

function cells(run, own, { rows, columns, cell }) {
  const values = rows.flatMap((row) => (row.curves[own.key] ?? []).filter((it) => it !== null));
  const sorted = values.sort((a, b) => a - b);
  const [low, high] = [sorted[Math.floor(sorted.length * 0.02)], sorted[Math.floor((sorted.length - 1) * 0.98)]];
  const shade = (value) => Math.max(0, Math.min(1, (value - low) / (high - low || 1)));
  const rounds = run.curves.rounds;
  return h("g", {},
    rows.map((row, y) => [
      h("a", { href: clientHref(run, row.client), "aria-label": clientName(run, row.client), tabindex: -1 }, row.site && h("title", {}, row.site), h("text", { x: LABEL - 8, y: y * HEIGHT + 14, "text-anchor": "end" }, row.client)),
      columns.map((at, x) => {
        const value = row.curves[own.key]?.[at] ?? null;
        const box = { x: (LABEL + x * cell).toFixed(1), y: y * HEIGHT + 1, width: Math.max(1, cell - (cell > 5 ? 1.5 : 0)).toFixed(1), height: HEIGHT - 2, rx: cell > 8 ? 2 : 0 };
        if (value !== null) return h("rect", { ...box, class: "heat-cell", "fill-opacity": (0.06 + 0.94 * shade(value)).toFixed(2) });
        return h("rect", { ...box, class: row["lost-rounds"].includes(rounds[at]) ? "heat-refused" : "heat-none" });
      }),
    ]),
    [0, columns.length - 1].map((x) => columns.length > 1 && h("text", { x: LABEL + (x + 0.5) * cell, y: rows.length * HEIGHT + 14, "text-anchor": x ? "end" : "start" }, `round ${rounds[columns[x]]}`)));
}

function inWords(run, row, round, at, key) {
  const value = row.curves[key]?.[at] ?? null;
  const refusal = row.refused.findLast((it) => it.round === round);
  if (refusal) return `${clientName(run, row.client)}, round ${round}: left out: ${refusal.reason}`;
  return `${clientName(run, row.client)}, round ${round}: ${value === null ? "not selected" : `${figureLabel(key)} ${number(value)}`}`;
}

function measure(node, own) {
  new ResizeObserver(([entry]) => {
    const width = Math.max(220, Math.floor(entry.contentRect.width));
    if (width === own.width) return;
    own.width = width;
    redraw();
  }).observe(node);
}
