/* One run: what it is and does, and the heads of its views; what they show is in training.js, clients.js and so on. */

import { clientsTab } from "./clients.js";
import { h } from "./dom.js";
import { playgroundTab } from "./playground.js";
import { recordTab } from "./record.js";
import { progressBar, runHref, signsPanel, statePill, troubleNotes } from "./parts.js";
import { state } from "./store.js";
import { trainingTab } from "./training.js";
import { ago, atAGlance, bestInWords, brief, duration, examples, figureLabel, isAtWork, nameOf, number, scoredWith, whole, whyNoScores } from "./words.js";

const TABS = { "": ["Training", trainingTab], clients: ["Clients", clientsTab], playground: ["Playground", playgroundTab], record: ["Record", recordTab] };

export function runView({ id, tab }) {
  if (state.missing) return gone(id);
  const run = state.run;
  if (!run) return state.trouble ? [] : [headline(id), h("div", { class: "card skeleton", "aria-hidden": "true" })];
  const [, view] = TABS[tab] ?? TABS[""];
  return [
    headline(run.id, statePill(run), isAtWork(run) && h("span", { class: "live" }, h("i", { class: state.link === "ok" ? "on" : "" }), state.link === "ok" ? "live" : "no answer")),
    troubleNotes(run),
    h("p", { class: "words" }, run.state === "failed" ? "" : `${run.words} `, h("span", { class: "quiet" }, `Last change ${ago(run.updated)}.`)),
    progressBar(run), facts(run),
    h("nav", { class: "tabs", "aria-label": "Views of this run" }, Object.entries(TABS).map(([key, [name]]) => h("a", { key, href: runHref(run.id, key), "aria-current": key === tab ? "page" : null }, name))),
    h("div", { class: "tab", key: `tab ${tab}` }, tab !== "playground" && signsPanel(run), view(run)),
  ];
}

/* The same before and after the run is known, so that a heading which has the focus keeps it. */
function headline(id, ...more) {
  return h("div", { class: "headline" }, h("p", { class: "crumb" }, h("a", { href: "#/" }, "Runs")), h("h1", { tabindex: -1 }, id), more);
}

function gone(id) {
  return h("section", { class: "card welcome" }, h("h1", { tabindex: -1 }, "This run is not there"),
    h("p", {}, `There is no run ${id} in the folder that is served. It may have been moved or deleted, or not have begun; should it come back, it is shown here.`),
    h("p", {}, h("a", { class: "button", href: "#/" }, "All runs")));
}

function facts(run) {
  const rows = [
    ...scoreFacts(run),
    ["clients", whole(run.clients), `split: ${brief(run.partition)}`],
    ["algorithm", nameOf(run.algorithm), `model ${nameOf(run.model)}, objective ${nameOf(run.objective)}`],
    ["data", nameOf(run.data), `${examples(run, run["examples-seen"])} seen`],
    ["time", duration(run.seconds), run.round ? `${duration(run.seconds / run.round)} a round` : null],
  ];
  return h("dl", { class: "facts" }, rows.map(([name, value, ...more]) => h("div", { key: name }, h("dt", {}, name), h("dd", {}, h("b", {}, value), more.filter(Boolean).map((it) => h("span", {}, it))))));
}

/* The scores, each with what it was computed from; or that there are none, and why. */
function scoreFacts(run) {
  const now = run.scores[run.distance];
  const from = `round ${whole(run["scores-round"])}: ${scoredWith(run["scored-with"])}`;
  const found = [];
  if (Number.isFinite(now)) found.push([figureLabel(run.distance), number(now), from, bestInWords(run, now)]);
  for (const it of atAGlance(run)) found.push([it.label, number(run.scores[it.name]), from, it.meaning]);
  if (!found.length) found.push(["scores", isAtWork(run) && !whyNoScores(run) ? "not yet" : "none", whyNoScores(run) || "not scored yet"]);
  return found;
}
