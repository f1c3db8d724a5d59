/* The record of a run: its scores and what they mean, what went wrong, and its configuration. */

import { h } from "./dom.js";
import { bar, clientHref, few, moreButton } from "./parts.js";
import { local, redraw } from "./store.js";
import { className, clientName, figureLabel, incomparable, isAtWork, number, plural, roundsScoredWith, scoredWith, SCORES, scoresOf, whyNoScores } from "./words.js";

const MOST_ROWS = 40;

export function recordTab(run) {
  return h("div", { class: "record" }, scores(run), perClass(run), privacy(run), incidents(run), config(run));
}

function scores(run) {
  const names = scoresOf("figure").map((it) => it.name).filter((name) => run.scores[name] !== undefined);
  return h("section", { class: "card" }, h("h2", {}, run["scores-round"] === null ? "Scores" : `Scores of round ${run["scores-round"]}`),
    names.length > 0 && h("p", { class: "quiet" }, `Computed with: ${scoredWith(run["scored-with"])}`, Object.entries(run["scored-with"]?.["own-num-samples"] ?? {}).map(([name, count]) => `; ${name} from ${plural(count, run.images ? "generated image" : "sample")}`), `. Those of the rounds before with: ${roundsScoredWith(run)}. ${incomparable(run)}`),
    names.length
      ? h("table", { class: "figures scores" }, h("thead", {}, h("tr", {}, ["score", "value", "best over rounds", "meaning"].map((it) => h("th", { scope: "col" }, it)))),
        h("tbody", {}, names.map((name) => h("tr", { key: name }, h("th", { scope: "row" }, figureLabel(name)), h("td", {}, number(run.scores[name])), h("td", {}, bestOf(run, name)), h("td", { class: "quiet" }, SCORES[name].meaning)))))
      : h("p", { class: "quiet empty" }, whyNoScores(run) ? `No scores. ${whyNoScores(run)}` : isAtWork(run) ? "Not scored yet." : "No scores."),
    run["weak-spots"].length > 0 && [h("h3", {}, "Which clients and classes the generator serves worst"), h("ul", {}, run["weak-spots"].map((it) => h("li", {}, it)))]);
}

function bestOf(run, name) {
  const values = run.curves.scores[name];
  if (!values) return "–";
  const known = values.filter((it) => it !== null);
  if (known.length < 2) return "–";
  if (SCORES[name].better === "neither") return "–";
  const best = SCORES[name].better === "lower" ? Math.min(...known) : Math.max(...known);
  return `${number(best)}, round ${run.curves.rounds[values.indexOf(best)]}`;
}

/* Scores of each class and of each client; of a name that the table lacks, as of an earlier version, by number. */
function perClass(run) {
  const isList = (value) => Array.isArray(value) && value.length > 0 && value.every((it) => it === null || Number.isFinite(it));
  const names = [...scoresOf("figures").filter((it) => it.better !== "neither").map((it) => it.name), ...Object.keys(run.scores).filter((name) => !(name in SCORES))];
  return names.filter((name) => isList(run.scores[name])).map((name) => {
    const values = run.scores[name];
    const most = Math.max(...values.map((it) => it ?? 0));
    const { heading: title = figureLabel(name), of = "" } = SCORES[name] ?? {};
    const label = (at) => ({ client: h("a", { href: clientHref(run, at) }, clientName(run, at)), class: `class ${className(run, at)}` })[of] ?? String(at);
    return h("section", { class: "card", key: name }, h("h2", {}, title), h("table", { class: "bars" }, h("tbody", {}, few(`${name} ${run.id}`, values.map((value, at) => [value, at]), MOST_ROWS).map(([value, at]) => h("tr", { key: at }, h("th", { scope: "row" }, label(at)), h("td", {}, bar(value, most)))))), moreButton(`${name} ${run.id}`, values, MOST_ROWS));
  });
}

function privacy(run) {
  return run.privacy !== "" && h("section", { class: "card" }, h("h2", {}, "Privacy"), h("p", {}, run.privacy), h("p", { class: "quiet" }, "fedgan privacy RUN lists all that left the clients."));
}

function incidents(run) {
  return h("section", { class: "card" }, h("h2", {}, "Incidents"),
    run.incidents.length
      ? h("div", { class: "scroll" }, h("table", { class: "figures incidents" }, h("thead", {}, h("tr", {}, ["round", "what", "why"].map((it) => h("th", { scope: "col" }, it)))), h("tbody", {}, run.incidents.toReversed().map((it) => h("tr", {}, h("td", {}, it.round), h("td", {}, it.what), h("td", {}, it.why))))))
      : h("p", { class: "quiet" }, "None is recorded."));
}

function config(run) {
  const own = local(`config ${run.id}`, () => ({ words: "" }));
  const rows = Object.entries(run.config).filter(([key, value]) => `${key} ${value}`.toLowerCase().includes(own.words.toLowerCase()));
  return h("section", { class: "card wide" },
    h("div", { class: "row" }, h("h2", { class: "grow" }, "Configuration"), h("label", { class: "field" }, h("span", {}, "Find"), h("input", { type: "search", value: own.words, oninput: (event) => { own.words = event.currentTarget.value; redraw(); } }))),
    !rows.length && h("p", { class: "quiet" }, own.words ? "No key is like that." : run.problem || "Its configuration cannot be read."),
    h("dl", { class: "config" }, rows.map(([key, value]) => h("div", { key }, h("dt", {}, key), h("dd", {}, String(value) || "(empty)")))));
}
