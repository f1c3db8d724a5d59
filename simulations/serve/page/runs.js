/* All runs: what each does, how good it is, and several of them in one chart. */

import { samplePath, showRun } from "./api.js";
import { lineChart, sparkline } from "./chart.js";
import { h, memo } from "./dom.js";
import { progressBar, runHref, statePill } from "./parts.js";
import { local, redraw, state } from "./store.js";
import { ago, brief, duration, figureLabel, isAtWork, number, plural, SCORES } from "./words.js";

const MOST_COMPARED = 8;
const FIRST_COMPARED = 5;
const FEW = 6; /* runs that need no search */

export function runsView() {
  const runs = state.runs;
  if (!runs) return state.trouble ? [] : [h("h1", { tabindex: -1 }, "Runs"), h("div", { class: "card skeleton", "aria-hidden": "true" })];
  if (!runs.length) return noRuns();
  const own = local("runs", () => ({ words: "", only: "all", compared: null, measure: "distance", over: "round", details: new Map() }));
  const sorted = [...runs].sort((a, b) => isAtWork(b) - isAtWork(a) || b.updated - a.updated);
  own.compared ??= new Set(sorted.filter((run) => run.quality.length).slice(0, FIRST_COMPARED).map((run) => run.id));
  const found = sorted.filter((run) => matches(run, own));
  return [
    h("div", { class: "headline" }, h("h1", { tabindex: -1 }, "Runs"), h("p", { class: "quiet" }, summary(runs))),
    runs.length > FEW && search(own, runs),
    found.length ? h("ul", { class: "runs" }, found.map((run) => card(run, runs, own))) : h("p", { class: "quiet empty" }, "No run is like that."),
    comparison(own, runs),
  ];
}

function noRuns() {
  return h("section", { class: "card welcome" },
    h("h1", { tabindex: -1 }, "No runs yet"),
    h("p", {}, "This folder holds no run. Start one in it, and it appears here by itself:"),
    h("pre", {}, h("code", {}, "fedgan simulate --out runs/first")),
    h("p", { class: "quiet" }, "The folder is the one that was given to fedgan serve; without one it is runs."));
}

function summary(runs) {
  const counts = ["running", "waiting for nodes", "finished", "failed"].map((it) => [it, runs.filter((run) => run.state === it).length]);
  return `${plural(runs.length, "run")}: ${counts.filter(([, count]) => count).map(([it, count]) => `${count} ${it}`).join(", ")}`;
}

function matches(run, own) {
  const text = [run.id, run.algorithm, run.model, run.data, run.partition, run.objective].join(" ").toLowerCase();
  return (own.only === "all" || run.state === own.only) && own.words.toLowerCase().split(/\s+/).every((word) => text.includes(word));
}

function search(own, runs) {
  const states = [...new Set(runs.map((run) => run.state))];
  return h("div", { class: "row", role: "search" },
    h("label", { class: "field grow" }, h("span", {}, "Find"), h("input", { type: "search", value: own.words, placeholder: "name, algorithm, data, split", oninput: (event) => { own.words = event.currentTarget.value; redraw(); } })),
    h("label", { class: "field" }, h("span", {}, "State"), h("select", { value: own.only, onchange: (event) => { own.only = event.currentTarget.value; redraw(); } }, ["all", ...states].map((it) => h("option", { key: it, value: it }, it)))));
}

function card(run, runs, own) {
  const sample = run["sample-rounds"].at(-1);
  const errors = run.signs.filter((sign) => sign.severity === "error").length;
  const isCompared = own.compared.has(run.id);
  const compare = () => {
    if (!own.compared.delete(run.id)) own.compared.add(run.id);
    redraw();
  };
  return h("li", { class: "card run-card", key: run.id },
    h("a", { class: "thumb", href: runHref(run.id), tabindex: -1, "aria-hidden": "true" }, sample === undefined ? h("span", { class: "quiet" }, "no samples yet") : h("img", { src: `${samplePath(run.id, sample)}?${Math.floor(run.updated)}`, alt: "", loading: "lazy" })),
    h("div", { class: "run-main" },
      h("h2", {}, h("a", { href: runHref(run.id) }, run.id)), statePill(run),
      run.signs.length > 0 && h("a", { class: `badge ${errors ? "error" : "warning"}`, href: runHref(run.id), title: run.signs[0].words }, h("span", { "aria-hidden": "true" }, errors ? "✕ " : "▲ "), plural(run.signs.length, "sign of trouble", "signs of trouble")),
      h("p", { class: "quiet" }, `${run.algorithm.split(" ")[0]} · ${run.model.split(" ")[0]} · ${run.data.split(" ")[0]} · ${brief(run.partition)} · ${plural(run.clients, "client")} · seed ${run.seed}`),
      h("p", { class: "words" }, run.words, " ", h("span", { class: "quiet" }, isAtWork(run) ? `Last news ${ago(run.updated)}.` : `${duration(run.seconds)} of rounds; ${ago(run.updated)}.`)),
      progressBar(run)),
    h("div", { class: "run-scores" }, standing(run, runs),
      h("label", { class: "check" }, h("input", { type: "checkbox", checked: isCompared, disabled: !run.quality.length || (!isCompared && own.compared.size >= MOST_COMPARED), onchange: compare }), "compare")));
}

/* The score now, the best so far, and how that stands among runs on the same data. */
function standing(run, runs) {
  const now = run.scores[run.distance] ?? run.quality.at(-1);
  if (now === undefined || now === null) return h("p", { class: "quiet" }, "not scored yet");
  const others = runs.filter((it) => it.best && it.data === run.data && it.distance === run.distance);
  const lowest = Math.min(...others.map((it) => it.best.fid));
  const score = run.scores.score;
  const isBest = others.length > 1 && run.best?.fid === lowest;
  return [
    h("p", { class: "figure" }, h("b", {}, number(now)), h("span", {}, figureLabel(run.distance)), isBest && h("span", { class: "badge good" }, "best here")),
    run.best && h("p", { class: "quiet" }, run.best.fid < now ? `best ${number(run.best.fid)} in round ${run.best.round}` : "the best so far",
      others.length > 1 && !isBest && lowest > 0 && ` · ${number(run.best.fid / lowest)}× the lowest here`),
    score !== undefined && score !== null && h("p", { class: "quiet" }, `classifier score ${number(score)}`),
    memo(`spark ${run.id}`, [run.round, run.quality.length, run.quality.at(-1)], () => sparkline(run["quality-rounds"].map((round, at) => [round, run.quality[at]]), { isLog: true, label: `${figureLabel(run.distance)} over rounds` })),
  ];
}

const MEASURES = ["distance", "score", "precision", "recall", "discriminator-loss", "generator-loss", "d-real", "d-fake"];
const OVER = { round: "rounds", seconds: "time", images: "images seen" };

function comparison(own, runs) {
  const chosen = runs.filter((run) => own.compared.has(run.id));
  if (!chosen.length) return h("p", { class: "quiet" }, runs.some((run) => run.quality.length) ? "Tick compare on some runs to see them in one chart." : null);
  const isPlain = own.measure === "distance" && own.over === "round";
  if (!isPlain) chosen.forEach((run) => fetchDetail(own, run));
  const change = (key) => (event) => {
    own[key] = event.currentTarget.value;
    redraw();
  };
  const name = own.measure === "distance" ? "Distance to real images" : figureLabel(own.measure);
  const loading = !isPlain && chosen.some((run) => !own.details.has(run.id));
  return h("section", { class: "card", "aria-labelledby": "compare-title" },
    h("div", { class: "row" }, h("h2", { id: "compare-title", class: "grow" }, "Compared"),
      h("label", { class: "field" }, h("span", {}, "Measure"), h("select", { value: own.measure, onchange: change("measure") }, MEASURES.map((it) => h("option", { key: it, value: it }, it === "distance" ? "FID" : figureLabel(it))))),
      h("label", { class: "field" }, h("span", {}, "Over"), h("select", { value: own.over, onchange: change("over") }, Object.entries(OVER).map(([key, words]) => h("option", { key, value: key }, words))))),
    lineChart({
      id: `compare ${own.measure} ${own.over}`, title: name, height: 280, isLog: own.measure === "distance",
      note: loading ? "Loading…" : SCORES[own.measure === "distance" ? "fid" : own.measure] ? `${SCORES[own.measure === "distance" ? "fid" : own.measure].better} is better` : null,
      xLabel: own.over === "round" ? "round" : own.over === "seconds" ? "after" : "images",
      xFormat: own.over === "seconds" ? duration : own.over === "images" ? number : String,
      series: chosen.map((run, at) => ({ name: run.id, tone: at, points: pointsOf(own, run) })),
    }));
}

function pointsOf(own, run) {
  const key = `compared ${run.id} ${own.measure} ${own.over}`;
  if (own.measure === "distance" && own.over === "round") return memo(key, [run.round, run.quality.length, run.quality.at(-1)], () => run["quality-rounds"].map((round, at) => [round, run.quality[at]]));
  const detail = own.details.get(run.id)?.run;
  return memo(key, [detail], () => {
    if (!detail) return [];
    const { rounds, seconds, means, scores } = detail.curves;
    const values = own.measure === "distance" ? scores[detail.distance] : (means[own.measure] ?? scores[own.measure]);
    let time = 0;
    const times = seconds.map((it) => (time += it));
    const at = { round: (i) => rounds[i], seconds: (i) => times[i], images: (i) => (detail["images-seen"] * rounds[i]) / (detail.round || 1) }[own.over];
    return (values ?? []).map((value, i) => [at(i), value]).filter(([, value]) => value !== null);
  });
}

/* A run in full, once and again when it has gone on. */
async function fetchDetail(own, run) {
  const known = own.details.get(run.id);
  if (known && (known.round === run.round || known.isUnderWay)) return;
  own.details.set(run.id, { ...known, round: run.round, isUnderWay: true });
  try {
    own.details.set(run.id, { run: await showRun(run.id), round: run.round });
  } catch {
    own.details.set(run.id, { ...known, round: run.round });
  }
  redraw();
}
