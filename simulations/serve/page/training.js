/* The training of a run: its film, its curves, and what each client did in the round that is looked at. */

import { lineChart } from "./chart.js";
import { h, memo } from "./dom.js";
import { film } from "./film.js";
import { clientHref, few, moreButton, showRound } from "./parts.js";
import { local, redraw, state } from "./store.js";
import { areTexts } from "./texts.js";
import { ago, bytes, clientName, duration, figureLabel, isAtWork, number, roundsScoredWith, whole } from "./words.js";

const [ROW, GAP] = [4, 16]; /* pixels, as in parts.css */

export function trainingTab(run) {
  if (!run.curves.rounds.length) {
    return [
      h("div", { class: "training" }, tile("film", film(run)), tile("curves", h("section", { class: "card" }, h("h2", {}, "Curves"), h("p", { class: "quiet empty" }, isAtWork(run) ? "Curves begin when the first round is done." : "None: no round was done.")), true)),
      underWay(run),
    ];
  }
  const charts = run.charts.map((it) => [it, inUnit(run, it, seriesOf(run, it))]).filter(([, series]) => series.length);
  const latest = run.round;
  const mark = state.cursor === null ? null : Math.min(state.cursor, latest);
  return [
    h("div", { class: "training" },
      tile("film", film(run), areTexts(run)),
      charts.map(([it, series], at) => tile(it.id, h("section", { class: "card" }, lineChart({ title: it.title, isLog: it["is-log"], note: noteOf(run, it, series), id: `${run.id} ${it.id}`, series, mark, onPick: showRound, height: at === 0 ? 250 : 190 })), at === 0 && !areTexts(run))),
      tile("cost", cost(run, mark))),
    underWay(run),
    round(run, mark ?? latest),
  ];
}

/* What stands below a chart's title. A curve by itself has no legend, so it is named here where the title does not. */
function noteOf(run, { id, title, note, "is-score": isScore, other }, series) {
  const alone = series.length === 1 && series[0].name.toLowerCase() !== title.toLowerCase() ? `${series[0].name}.` : "";
  const words = [alone && alone[0].toUpperCase() + alone.slice(1), note, isScore && `Computed with: ${roundsScoredWith(run)}.`].filter(Boolean).join(" ");
  return other ? [words, " ", unitButton(run, id, other)] : words;
}

const unitOf = (run, id) => local(`unit ${run.id} ${id}`, () => ({ isOther: false }));

function unitButton(run, id, other) {
  const own = unitOf(run, id);
  return h("button", { type: "button", class: "small", "aria-pressed": String(own.isOther), onclick: () => { own.isOther = !own.isOther; redraw(); } }, `in ${other.name}`);
}

/* The series of a chart in the unit that was picked. */
function inUnit(run, { id, other }, series) {
  if (!other || !unitOf(run, id).isOther) return series;
  return memo(`unit ${run.id} ${id}`, [series], () => series.map(({ points }, at) => ({ name: other.labels[at], points: points.map(([x, y]) => [x, y === null ? null : y * other.factor]) })));
}

/* One part of the training's view. It takes as many of the grid's low rows as it is high, so that what follows fills the
   place below it, in whichever column that is. */
function tile(key, content, isWide = false) {
  return h("div", { class: `tile${isWide ? " wide" : ""}`, key, mount: (node) => new ResizeObserver(([entry]) => {
    node.style.gridRowEnd = `span ${Math.ceil((entry.borderBoxSize[0].blockSize + GAP) / ROW)}`;
  }).observe(node.firstElementChild) }, content);
}

function seriesOf(run, { id, names }) {
  return memo(`series ${run.id} ${id}`, [run], () => {
    const { rounds, means, scores } = run.curves;
    return names.filter((name) => (means[name] ?? scores[name])?.some((value) => value !== null)).map((name) => {
      const values = means[name] ?? scores[name];
      const isSparse = !means[name]; /* scores are of some rounds only: the line goes from one to the next */
      return { name: figureLabel(name), points: rounds.map((x, at) => [x, values[at]]).filter(([, y]) => !isSparse || y !== null) };
    });
  });
}

function cost(run, mark) {
  const series = memo(`cost ${run.id}`, [run], () => [{ name: "seconds a round", points: run.curves.rounds.map((x, at) => [x, run.curves.seconds[at]]) }]);
  const sum = (values) => values.reduce((all, it) => all + it, 0);
  const note = `${duration(run.seconds)} in all; ${bytes(sum(run.curves["bytes-down"]))} sent to clients, ${bytes(sum(run.curves["bytes-up"]))} back.`;
  return h("section", { class: "card", key: "cost" }, lineChart({ id: `${run.id} cost`, title: "Seconds a round", note, series, mark, onPick: showRound, height: 190 }));
}

/* What each client did in a round. */
function round(run, which) {
  const at = run.curves.rounds.indexOf(which);
  const index = at === -1 ? run.curves.rounds.findLastIndex((it) => it <= which) : at;
  const shown = run.curves.rounds[index];
  const rows = run["client-table"];
  const tiles = rows.map((row) => [row, doing(run, row, index, shown)]);
  const counts = ["trained", "left out", "not selected"].map((what) => [what, tiles.filter(([, it]) => it.what === what).length]);
  return h("section", { class: "card", key: "tiles", "aria-labelledby": "tiles-title" },
    h("h2", { id: "tiles-title" }, index < 0 ? "Clients" : `Clients in round ${shown}`),
    h("p", { class: "quiet" }, counts.filter(([, count]) => count).map(([what, count]) => `${count} ${what}`).join(", "), "."),
    h("ul", { class: "tiles" }, few(`tiles ${run.id}`, tiles, 24).map(([row, it]) => h("li", { key: row.client, class: it.what.replace(" ", "-") },
      h("a", { href: clientHref(run, row.client) }, `client ${row.client}`), row.site && h("span", { class: "site" }, row.site),
      h("span", { class: "what" }, h("span", { "aria-hidden": "true" }, { trained: "✓ ", "left out": "✕ ", "not selected": "· " }[it.what]), it.what),
      it.reason && h("p", { class: "reason" }, it.reason),
      it.figures.length > 0 && h("dl", {}, it.figures.map(([key, value]) => h("div", { key }, h("dt", {}, figureLabel(key)), h("dd", {}, number(value)))))))),
    moreButton(`tiles ${run.id}`, tiles, 24));
}

const DOING = {
  training: ["▶", "training"],
  requested: ["◌", "task sent"],
  away: ["✕", "away"],
  silent: ["✕", "no usable reply"],
  answered: ["✓", "answered"],
};

/* What each client is doing in the round that is under way. */
function underWay(run) {
  if (run.state !== "running" || !run.now || run.now.round <= run.round) return null;
  const { round, since, clients } = run.now;
  const order = Object.keys(DOING);
  const rows = Object.entries(clients).sort(([, a], [, b]) => order.indexOf(a) - order.indexOf(b));
  const counts = order.map((it) => [it, rows.filter(([, doing]) => doing === it).length]).filter(([, count]) => count);
  const others = (run.clients ?? rows.length) - rows.length;
  return h("section", { class: "card now", key: "now", "aria-labelledby": "now-title" },
    h("h2", { id: "now-title" }, h("span", { class: "live" }, h("i", { class: "on" })), ` Round ${round} is under way`),
    h("p", { class: "quiet" }, counts.map(([it, count]) => `${whole(count)} ${DOING[it][1]}`).join(", "), others > 0 && `, ${whole(others)} not selected`, `. Began ${ago(since)}.`),
    h("ul", { class: "chips" }, few(`now ${run.id}`, rows, 36).map(([client, doing]) => h("li", { key: client, class: doing },
      h("a", { href: clientHref(run, client), title: clientName(run, Number(client)) }, `client ${client}`), h("span", {}, h("span", { "aria-hidden": "true" }, `${DOING[doing][0]} `), DOING[doing][1])))),
    moreButton(`now ${run.id}`, rows, 36));
}

function doing(run, row, index, round) {
  const figures = run.figures.map(({ name: key }) => [key, row.curves[key]?.[index] ?? null]).filter(([, value]) => value !== null);
  const refusal = row.refused.findLast((it) => it.round === round);
  if (figures.length) return { what: "trained", figures };
  if (refusal || row["lost-rounds"].includes(round)) return { what: "left out", figures, reason: refusal?.reason };
  return { what: "not selected", figures };
}
