/* The clients of a run: what each holds, how it trains, and when it was left out. */

import { lineChart } from "./chart.js";
import { h, memo } from "./dom.js";
import { heatmap } from "./heatmap.js";
import { bar, clientHref, few, histogram, moreButton, runHref } from "./parts.js";
import { local, redraw, state } from "./store.js";
import { className, clientName, examples, figureLabel, isAtWork, manyOf, number, percent, plural, rank, scoresOf, whole } from "./words.js";

/* Scores that each client has its part of; not how sure another one is. */
const ofClients = () => scoresOf("figures", "client").filter((it) => it.better !== "neither");

const ALWAYS = ["client", "state", "images", "trained"];

/* The columns of a run: what every client has, what its objective and the table of scores tell of clients, by name. */
const columnsOf = (run) => [
  ["client", "client", (row) => row.client],
  ["state", "status", (row) => -row["lost-rounds"].length],
  ["images", `${manyOf(run)}, by class`, (row) => row.images],
  ["weight", "weight", (row) => row.weight],
  ...run.figures.filter(({ name }) => name !== "seconds").map(({ name, label }) => [name, label, (row) => row.last[name]]),
  ...ofClients().map(({ name, label }) => [name, label, (row) => row.scores[name]]),
  ["trained", "rounds", (row) => row.trained],
];

const MOST_ROWS = 24;

export function clientsTab(run) {
  const rows = run["client-table"];
  if (!rows.length) return h("section", { class: "card" }, h("h2", {}, "Clients"), h("p", { class: "quiet empty" }, isAtWork(run) ? `${plural(run.clients, "client")} are to take part; none has answered yet.` : "No client answered in this run."));
  const chosen = rows.find((row) => String(row.client) === state.route.client);
  return [chosen && one(run, chosen), all(run, rows), heatmap(run, state.cursor)];
}

function all(run, rows) {
  const own = local(`clients ${run.id}`, () => ({ by: "client", isDown: false }));
  const columns = columnsOf(run).filter(([key, , value]) => ALWAYS.includes(key) || rows.some((row) => isNumber(value(row))));
  const value = (columns.find(([key]) => key === own.by) ?? columns[0])[2];
  const sorted = [...rows].sort((a, b) => (own.isDown ? -1 : 1) * ((value(a) ?? Infinity) - (value(b) ?? Infinity)) || a.client - b.client);
  const most = Object.fromEntries(columns.map(([key, , get]) => [key, Math.max(...rows.map((row) => Math.abs(get(row) ?? 0)))]));
  most.negative = new Set(columns.filter(([, , get]) => rows.some((row) => get(row) < 0)).map(([key]) => key).filter((key) => key !== "state"));
  most.count = Math.max(1, ...rows.flatMap((row) => row["label-counts"] ?? []));
  const sort = (key) => () => {
    Object.assign(own, { by: key, isDown: own.by === key ? !own.isDown : key !== "client" });
    redraw();
  };
  return h("section", { class: "card", "aria-labelledby": "clients-title" },
    h("h2", { id: "clients-title" }, plural(rows.length, "client")),
    h("p", { class: "quiet" }, "Figures of each client's last round. A bar compares with the largest in its column."),
    h("div", { class: "scroll" }, h("table", { class: "clients", role: "table" },
      h("caption", { class: "unseen" }, "Clients; buttons in the head sort"),
      h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, columns.map(([key, words]) => h("th", { key, scope: "col", role: "columnheader", "aria-sort": own.by === key ? (own.isDown ? "descending" : "ascending") : null }, h("button", { type: "button", onclick: sort(key) }, words, h("span", { "aria-hidden": "true" }, own.by === key ? (own.isDown ? " ↓" : " ↑") : "")))))),
      h("tbody", { role: "rowgroup" }, few(`clients ${run.id}`, sorted, MOST_ROWS).map((row) => h("tr", { key: row.client, role: "row", class: String(row.client) === state.route.client ? "chosen" : null },
        columns.map(([key, words, get]) => h(key === "client" ? "th" : "td", { key, scope: key === "client" ? "row" : null, role: key === "client" ? "rowheader" : "cell", "data-label": words }, cell(run, row, key, get(row), most)))))))),
    moreButton(`clients ${run.id}`, sorted, MOST_ROWS));
}

function cell(run, row, key, value, most) {
  if (key === "client") return h("a", { href: clientHref(run, row.client) }, row.site ? `${row.client} ${row.site}` : row.client);
  if (key === "state") return condition(run, row);
  if (key === "images") return h("span", { class: "images" }, h("b", {}, whole(row.images)), histogram(run, row["label-counts"], most.count));
  if (key === "weight") return bar(value, most.weight, value === null ? "" : percent(value));
  if (key === "trained") return h("span", {}, whole(row.trained), row["lost-rounds"].length > 0 && h("span", { class: "lost" }, ` −${row["lost-rounds"].length}`), h("span", { class: "unseen" }, ` trained, ${row["lost-rounds"].length} lost`));
  return value < 0 || most.negative.has(key) ? number(value) : bar(value, most[key]); /* a bar has no place for a sign */
}

/* How a client is doing: the worst that the record says of it, else what it last did. */
function condition(run, row) {
  const sign = run.signs.find((it) => it.client === row.client);
  if (sign) return h("span", { class: `badge ${sign.severity}`, title: sign.words }, h("span", { "aria-hidden": "true" }, sign.severity === "error" ? "✕ " : "▲ "), sign.kind.replace("-", " "));
  if (row["last-round"] === null) return h("span", { class: "quiet" }, isAtWork(run) ? "has not trained yet" : "never trained");
  const age = run.round - row["last-round"];
  if (age > 0 || run.state === "failed") return h("span", { class: "quiet" }, `trained last in round ${row["last-round"]}`);
  return h("span", { class: "badge good" }, h("span", { "aria-hidden": "true" }, "✓ "), isAtWork(run) ? "up to date" : "trained to the end");
}

const isNumber = (it) => it !== null && it !== undefined;

function one(run, row) {
  const signs = run.signs.filter((it) => it.client === row.client);
  const counts = row["label-counts"];
  const keys = Object.keys(row.curves).filter((key) => key !== "examples").sort((a, b) => rank(a) - rank(b)); /* the same each round */
  return h("section", { class: "card one", "aria-labelledby": "one-title", key: `one ${row.client}` },
    h("div", { class: "row" }, h("h2", { id: "one-title", class: "grow" }, row.site ? `Client ${row.client}: ${row.site}` : `Client ${row.client}`), h("a", { class: "button small", href: runHref(run.id, "clients") }, "close")),
    signs.map((it) => h("p", { class: `note ${it.severity}` }, it.words)),
    h("div", { class: "one-top" },
      h("div", {}, h("h3", {}, examples(run, row.images)), counts?.length === 1 ? h("p", { class: "quiet" }, "Without labels.") : counts ? [histogram(run, counts, Math.max(1, ...counts), true), h("p", { class: "quiet" }, `Of ${plural(counts.filter(Boolean).length, "class", "classes")}: ${counts.map((count, label) => count && `${className(run, label)} (${whole(count)})`).filter(Boolean).join(", ")}`)] : h("p", { class: "quiet" }, "It does not disclose how many of each class.")),
      h("dl", { class: "facts" }, [
        ["weight in the mean", row.weight === null ? "by the algorithm" : percent(row.weight)], ["rounds trained", whole(row.trained)], ["rounds lost", whole(row["lost-rounds"].length)], ...ofClients().filter(({ name }) => isNumber(row.scores[name])).map(({ name, label }) => [label, number(row.scores[name])]),
      ].map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, h("b", {}, value)))))),
    row.refused.length > 0 && h("details", { open: true }, h("summary", {}, `Left out ${plural(row.refused.length, "time")}`), h("ul", { class: "reasons" }, row.refused.toReversed().slice(0, 30).map((it) => h("li", {}, h("b", {}, `round ${it.round}`), ` ${it.reason}`)))),
    h("div", { class: "charts" }, keys.map((key) => lineChart({ id: `${run.id} client ${key}`, title: figureLabel(key), series: against(run, row, key), height: 160, mark: state.cursor }))));
}

/* A figure of a client beside the mean of all. */
function against(run, row, key) {
  return memo(`against ${run.id} ${key}`, [run, row.client], () => {
    const { rounds } = run.curves;
    const all = run["client-table"].map((it) => it.curves[key]).filter(Boolean);
    const mean = rounds.map((_, at) => {
      const values = all.map((it) => it[at]).filter(isNumber);
      return values.length ? values.reduce((sum, it) => sum + it, 0) / values.length : null;
    });
    return [
      { name: clientName(run, row.client), tone: 0, points: rounds.map((x, at) => [x, row.curves[key][at]]).filter(([, y]) => y !== null) },
      { name: "mean of all", tone: 7, points: rounds.map((x, at) => [x, mean[at]]) },
    ];
  });
}
