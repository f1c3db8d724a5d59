/* All runs: what each does, how good it is, and several of them in one chart. */

import { sampleAddress, showRun } from "./api.js";
import { lineChart, sparkline } from "./chart.js";
import { h, memo } from "./dom.js";
import { countSigns, progressBar, runHref, statePill } from "./parts.js";
import { searchesPanel } from "./searches.js";
import { local, redraw, state } from "./store.js";
import { areTexts, textsBeside, thumbnail } from "./texts.js";
import { ago, atAGlance, bestInWords, brief, duration, FIGURES, figureLabel, incomparable, isAtWork, nameOf, number, plural, roundsScoredWith, scoredWith, SCORES, scoresOf, UNKNOWN, whyNoScores } from "./words.js";

const MOST_COMPARED = 8;
const FIRST_COMPARED = 5;
const FEW = 6; /* runs that need no search */

export function runsView() {
  const runs = state.runs;
  if (!runs) return state.trouble ? [] : [h("div", { class: "headline" }, h("h1", { tabindex: -1 }, "Runs")), h("div", { class: "card skeleton", "aria-hidden": "true" })];
  if (!runs.length) return noRuns();
  const own = local("runs", () => ({ words: "", only: "all", compared: null, measure: "distance", over: "round", details: new Map() }));
  const sorted = [...runs].sort((a, b) => isAtWork(b) - isAtWork(a) || b.updated - a.updated);
  own.compared ??= new Set(sorted.filter((run) => run.quality.length).slice(0, FIRST_COMPARED).map((run) => run.id));
  const found = sorted.filter((run) => matches(run, own));
  return [
    h("div", { class: "headline" }, h("h1", { tabindex: -1 }, "Runs"), h("p", { class: "quiet" }, summary(runs))),
    searchesPanel(state.searches),
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
    h("a", { class: "thumb", href: runHref(run.id), tabindex: -1, "aria-hidden": "true" }, sample === undefined ? h("span", { class: "quiet" }, isAtWork(run) ? "no samples yet" : "no samples") : areTexts(run) ? thumbnail(run, sample) : h("img", { src: `${sampleAddress(run.id, sample)}?${Math.floor(run.updated)}`, alt: "", loading: "lazy", onload: (event) => event.currentTarget.classList.toggle("tall", event.currentTarget.naturalHeight > 1.2 * event.currentTarget.naturalWidth) })),
    h("div", { class: "run-main" },
      h("h2", {}, h("a", { href: runHref(run.id) }, run.id)), statePill(run),
      run.signs.length > 0 && h("a", { class: `badge ${errors ? "error" : "warning"}`, href: runHref(run.id), title: run.signs[0].words }, h("span", { "aria-hidden": "true" }, errors ? "✕ " : "▲ "), countSigns(run)),
      h("p", { class: "quiet" }, configured(run)),
      h("p", { class: "words" }, run.words, " ", h("span", { class: "quiet" }, isAtWork(run) ? `Last change ${ago(run.updated)}.` : `${duration(run.seconds)} of rounds; ${ago(run.updated)}.`)),
      run.problem && run.problem !== run.words && h("p", { class: "note warning" }, run.problem),
      progressBar(run)),
    h("div", { class: "run-scores" }, standing(run, runs),
      h("label", { class: "check" }, h("input", { type: "checkbox", checked: isCompared, disabled: !run.quality.length || (!isCompared && own.compared.size >= MOST_COMPARED), onchange: compare }), "compare")));
}

/* What was configured, in a line; what is not known of it is said to be so. */
function configured(run) {
  const parts = [["algorithm", nameOf(run.algorithm)], ["model", nameOf(run.model)], ["data", nameOf(run.data)], ["split", brief(run.partition)], ["", plural(run.clients, "client")]];
  const words = parts.map(([name, value]) => (value === UNKNOWN ? `${name} ${UNKNOWN}` : value));
  return [...words, `seed ${run.seed ?? UNKNOWN}`].join(" · ");
}

/* Runs whose distances compare: on the same data set, by the same extractor, from as many images. Folders and files of
   one's own are never known to be the same. */
function yardstick(run) {
  if (!run.best || !run["data-is-public"]) return null;
  return JSON.stringify([run.data, run.distance, run["scored-with"]?.extractor ?? null, run.best["num-samples"] ?? null]);
}

/* The score now, the best one, and how that stands among runs that it compares with. */
function standing(run, runs) {
  const isFinal = Number.isFinite(run.scores[run.distance]);
  const now = isFinal ? run.scores[run.distance] : run.quality.at(-1);
  const glances = atAGlance(run);
  const scores = glances.length > 0 && h("p", { class: "quiet" }, glances.map((it) => `${it.label} ${number(run.scores[it.name])}`).join(" · "));
  if (!Number.isFinite(now)) return [scores || h("p", { class: "quiet" }, whyNoScores(run) ? `No scores. ${whyNoScores(run)}` : "Not scored yet.")];
  const mine = yardstick(run);
  const others = mine === null ? [] : runs.filter((it) => yardstick(it) === mine);
  const lowest = Math.min(...others.map((it) => it.best.value));
  const isBest = others.length > 1 && run.best.value === lowest;
  return [
    h("p", { class: "figure" }, h("b", {}, number(now)), h("span", {}, figureLabel(run.distance)), isBest && h("span", { class: "badge good", title: "Of the runs here on the same data, scored in the same way" }, "best of these runs")),
    h("p", { class: "quiet" }, isFinal ? scoredWith(run["scored-with"]) : roundsScoredWith(run)),
    run.best && h("p", { class: "quiet", title: incomparable(run) }, [bestInWords(run, now), others.length > 1 && !isBest && lowest > 0 && `${number(run.best.value / lowest)} times the lowest here`].filter(Boolean).join(" · ")),
    scores,
    memo(`spark ${run.id}`, [run.round, run.quality.length, run.quality.at(-1)], () => sparkline(run["quality-rounds"].map((round, at) => [round, run.quality[at]]), { isLog: true, label: `${figureLabel(run.distance)} over rounds` })),
  ];
}

/* What runs can be compared by, beside the distance: scores of the table, and what the objectives of the runs declare. */
function measuresOf(runs) {
  const declared = runs.flatMap((run) => run.figures.filter((it) => it.declared && it.name in FIGURES).map((it) => it.name));
  return ["distance", ...scoresOf("figure").map((it) => it.name), ...new Set(declared)].filter((name) => !["drift", "seconds"].includes(name));
}

const overOf = (runs) => ({ round: "rounds", seconds: "time", images: runs.every((run) => run.images) ? "images seen" : "examples seen" });

function comparison(own, runs) {
  const chosen = runs.filter((run) => own.compared.has(run.id));
  if (!chosen.length) return h("p", { class: "quiet" }, runs.some((run) => run.quality.length) ? "Tick compare on some runs to see them in one chart." : null);
  const isPlain = own.measure === "distance" && own.over === "round";
  if (!isPlain) chosen.forEach((run) => fetchDetail(own, run));
  const change = (key) => (event) => {
    own[key] = event.currentTarget.value;
    redraw();
  };
  const name = own.measure !== "distance" ? figureLabel(own.measure) : chosen.every((run) => run.images) ? "Distance to real images" : [...new Set(chosen.map((run) => figureLabel(run.distance)))].join(" or ");
  const loading = !isPlain && chosen.some((run) => !own.details.has(run.id));
  return h("section", { class: "card", "aria-labelledby": "compare-title" },
    h("div", { class: "row" }, h("h2", { id: "compare-title", class: "grow" }, "Compared"),
      h("label", { class: "field" }, h("span", {}, "Measure"), h("select", { value: own.measure, onchange: change("measure") }, measuresOf(runs).map((it) => h("option", { key: it, value: it }, it === "distance" ? [...new Set(chosen.map((run) => figureLabel(run.distance)))].join(" or ") : figureLabel(it))))),
      h("label", { class: "field" }, h("span", {}, "Over"), h("select", { value: own.over, onchange: change("over") }, Object.entries(overOf(chosen)).map(([key, words]) => h("option", { key, value: key }, words))))),
    lineChart({
      id: `compare ${own.measure} ${own.over}`, title: name, height: 280, isLog: own.measure === "distance",
      note: loading ? "Loading…" : noteOn(own.measure === "distance" ? chosen[0].distance : own.measure, chosen),
      xLabel: own.over === "round" ? "round" : own.over === "seconds" ? "after" : "images",
      xFormat: own.over === "seconds" ? duration : own.over === "images" ? number : String,
      series: chosen.map((run, at) => ({ name: run.id, tone: at, points: pointsOf(own, run) })),
    }),
    textsBeside(chosen));
}

/* What a measure says, and what it was computed from; where that differs, the curves do not compare, and it is said. */
function noteOn(measure, runs) {
  if (!SCORES[measure]) return null;
  const better = { lower: "Lower is better.", higher: "Higher is better.", neither: "" }[SCORES[measure].better];
  const ways = [...new Set(runs.map((run) => roundsScoredWith(run)))];
  if (ways.length === 1) return `${better} Computed with: ${ways[0]}.`;
  return `${better} These runs were scored in different ways (${ways.join("; ")}), so their values do not compare.`;
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
    const at = { round: (i) => rounds[i], seconds: (i) => times[i], images: (i) => (detail["examples-seen"] * rounds[i]) / (detail.round || 1) }[own.over];
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
