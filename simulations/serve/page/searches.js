/* Searches: all of them in a list, and one in full: how good its trials are, what that depends on, and the best settings. */

import { lineChart } from "./chart.js";
import { h } from "./dom.js";
import { parallel } from "./parallel.js";
import { bar, few, moreButton, runHref } from "./parts.js";
import { state } from "./store.js";
import { ago, duration, figureLabel, number, plural, whole } from "./words.js";

const FIRST_TRIALS = 40;
const STATES = { complete: "✓", pruned: "✂", running: "▶", failed: "✕" };

export const searchHref = (id) => `#/search/${encodeURIComponent(id)}`;

/* The searches of the folder, above its runs; nothing where there are none. */
export function searchesPanel(searches) {
  if (!searches?.length) return null;
  return h("section", { class: "card", key: "searches", "aria-labelledby": "searches-title" },
    h("h2", { id: "searches-title" }, "Searches"),
    h("ul", { class: "plain" }, searches.map((it) => h("li", { key: it.id },
      h("a", { href: searchHref(it.id) }, it.id), " ", workPill(it), " ",
      it.problem ? h("span", { class: "quiet" }, it.problem) : h("span", { class: "quiet" }, `${plural(it.made, "trial")} of ${whole(it.trials)}`, it.best !== null && ` · best ${figureLabel(it.metric)} ${number(it.value)}, of trial ${it.best}`, ` · last change ${ago(it.updated)}`)))));
}

export function searchView({ id }) {
  if (state.missing) return gone(id);
  const search = state.search;
  if (!search) return state.trouble ? [] : [headline(id), h("div", { class: "card skeleton", "aria-hidden": "true" })];
  return [
    headline(search.id, workPill(search)),
    h("p", { class: "words" }, inWords(search), " ", h("span", { class: "quiet" }, `Last change ${ago(search.updated)}.`)),
    facts(search),
    h("div", { class: "tab" }, bestCurve(search), h("section", { class: "card" }, parallel(search)), importances(search), finalists(search), trials(search)),
  ];
}

function headline(id, ...more) {
  return h("div", { class: "headline" }, h("p", { class: "crumb" }, h("a", { href: "#/" }, "Runs")), h("h1", { tabindex: -1 }, id), more);
}

function gone(id) {
  return h("section", { class: "card welcome" }, h("h1", { tabindex: -1 }, "This search is not there"),
    h("p", {}, `There is no search ${id} in the folder that is served.`), h("p", {}, h("a", { class: "button", href: "#/" }, "All runs")));
}

const isAtWork = (search) => search["at-work"] === true || (search["at-work"] === null && !search.ended);

function workPill(search) {
  const name = isAtWork(search) ? "running" : search.ended ? "finished" : "failed";
  const words = { running: "running", finished: "finished", failed: "stopped" }[name];
  return h("span", { class: `pill ${name}` }, h("span", { "aria-hidden": "true" }, { running: "▶", finished: "✓", failed: "✕" }[name]), words);
}

function inWords(search) {
  if (search.ended) return `It has ended: ${search.ended}.`;
  if (isAtWork(search)) return `${plural(search.made, "trial")} of ${whole(search.trials)} begun.`;
  return "No process is at work on it; the command that began it goes on with it.";
}

function facts(search) {
  const count = (name) => search.rows.filter((it) => it.state === name).length;
  const first = search.finalists.find((it) => it.trial === search.best);
  const rows = [
    [figureLabel(search.metric), search.value === null ? "not yet" : number(search.value), first && first.mean !== null ? `mean of ${plural(Object.keys(first.values).length, "other seed")}${first.deviation === null ? "" : `, standard deviation ${number(first.deviation)}`}` : search.value !== null && "one seed: luck is part of it"],
    ["best", search.best === null ? "not yet" : `trial ${search.best}`, Object.entries(search.settings).map(([key, value]) => `${key}=${value}`).join(", ")],
    ["trials", whole(search.made), `${count("complete")} complete, ${count("pruned")} pruned, ${count("failed")} failed`, search["left-out"] > 0 && `${plural(search["left-out"], "draw")} left out`],
    ["time", duration(search.seconds), search.budget !== null && `of ${duration(search.budget)}`],
    ["how", search.sampler, `pruner ${search.pruner}`, `preset ${search.preset}`],
  ];
  return h("dl", { class: "facts" }, rows.map(([name, value, ...more]) => h("div", { key: name }, h("dt", {}, name), h("dd", {}, h("b", {}, value), more.filter(Boolean).map((it) => h("span", {}, it))))));
}

/* Trials in their order, and the best score up to each. */
function bestCurve(search) {
  const done = search.rows.filter((it) => it.state === "complete" && Number.isFinite(it.value));
  const isBetter = search.better === "lower" ? (a, b) => a < b : (a, b) => a > b;
  let best = null;
  const steps = done.map((it) => [it.number, (best = best === null || isBetter(it.value, best) ? it.value : best)]);
  const cut = search.rows.filter((it) => it.state === "pruned" && Number.isFinite(it.value)).map((it) => [it.number, it.value]);
  const name = figureLabel(search.metric);
  return h("section", { class: "card" }, lineChart({
    id: `search ${search.id}`, title: `${name} over trials`, xLabel: "trial", isLog: search.better === "lower", height: 260,
    note: `${search.better === "lower" ? "Lower" : "Higher"} is better. Each with one seed; a trial that was pruned with the score that it had then.`,
    series: [
      { name: "best so far", points: steps, tone: 0 },
      { name: "complete", points: done.map((it) => [it.number, it.value]), tone: 2, isDots: true },
      { name: "pruned", points: cut, tone: 7, isDots: true },
    ],
  }));
}

function importances(search) {
  const known = search.parameters.filter((it) => Number.isFinite(it.importance)).sort((a, b) => b.importance - a.importance);
  return h("section", { class: "card", "aria-labelledby": "importance-title" },
    h("h2", { id: "importance-title" }, `What ${figureLabel(search.metric)} depends on`),
    h("p", { class: "quiet" }, known.length ? "How much the values of the best quarter of the trials differ from those of all, as shares (PED-ANOVA). Of few trials it is a hint." : "Not known yet: it takes five complete trials."),
    known.length > 0 && h("table", { class: "figures" }, h("caption", { class: "unseen" }, "Importance of each parameter"),
      h("tbody", {}, known.map((it) => h("tr", { key: it.name }, h("th", { scope: "row" }, it.name), h("td", {}, bar(it.importance, known[0].importance, `${Math.round(100 * it.importance)} %`)))))));
}

function finalists(search) {
  if (!search.finalists.length) return null;
  const name = figureLabel(search.metric);
  return h("section", { class: "card", "aria-labelledby": "finalists-title" },
    h("h2", { id: "finalists-title" }, "Finalists"),
    h("p", { class: "quiet" }, "The best trials, repeated with other seeds. The score that a trial was picked by is a lucky one more often than not, so it does not count."),
    h("div", { class: "scroll" }, h("table", { class: "figures" }, h("caption", { class: "unseen" }, "Finalists"),
      h("thead", {}, h("tr", {}, ["trial", `${name}, mean`, "standard deviation", "seeds", "picked by"].map((it) => h("th", { scope: "col" }, it)))),
      h("tbody", {}, search.finalists.map((it) => h("tr", { key: it.trial, class: it.trial === search.best ? "chosen" : null },
        h("th", { scope: "row" }, trialLink(search, it.trial)), [it.mean, it.deviation].map((value) => h("td", {}, value === null ? "–" : number(value))), h("td", {}, String(Object.keys(it.values).length)), h("td", {}, number(it.first))))))));
}

function trialLink(search, trial) {
  const run = search.rows.find((it) => it.number === trial)?.run;
  return run ? h("a", { href: runHref(run) }, `trial ${trial}`) : `trial ${trial}`;
}

function trials(search) {
  const sign = search.better === "lower" ? 1 : -1;
  const order = { running: 0, complete: 1, pruned: 2, failed: 3 };
  const sorted = [...search.rows].sort((a, b) => order[a.state] - order[b.state] || sign * ((a.value ?? Infinity) - (b.value ?? Infinity)));
  const shown = few(`trials ${search.id}`, sorted, FIRST_TRIALS);
  return h("section", { class: "card", "aria-labelledby": "trials-title" },
    h("h2", { id: "trials-title" }, "Trials"),
    h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Trials, best first" }, h("table", { class: "figures trials" }, h("caption", { class: "unseen" }, "Trials, best first"),
      h("thead", {}, h("tr", {}, ["trial", "state", figureLabel(search.metric), "rounds", "time", "settings"].map((it) => h("th", { scope: "col" }, it)))),
      h("tbody", {}, shown.map((it) => h("tr", { key: it.number, class: it.number === search.best ? "chosen" : null },
        h("th", { scope: "row" }, trialLink(search, it.number)), h("td", {}, h("span", { "aria-hidden": "true" }, `${STATES[it.state] ?? ""} `), it.state),
        h("td", {}, it.value === null ? "–" : number(it.value)), h("td", {}, whole(it.rounds)), h("td", {}, it.seconds === null ? "–" : duration(it.seconds)),
        h("td", { class: "settings" }, Object.entries(it.settings).map(([key, value]) => `${key}=${value}`).join(", "), it.reason && h("span", { class: "quiet" }, ` ${it.reason}`))))))),
    moreButton(`trials ${search.id}`, sorted, FIRST_TRIALS));
}
