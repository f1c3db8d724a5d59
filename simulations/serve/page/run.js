/* One run: what it is and does, and its four sides. */

import { clientsTab } from "./clients.js";
import { h } from "./dom.js";
import { playgroundTab } from "./playground.js";
import { recordTab } from "./record.js";
import { progressBar, runHref, signsPanel, statePill } from "./parts.js";
import { state } from "./store.js";
import { trainingTab } from "./training.js";
import { ago, brief, duration, figureLabel, isAtWork, number, plural, whole } from "./words.js";

const TABS = { "": ["Training", trainingTab], clients: ["Clients", clientsTab], playground: ["Playground", playgroundTab], record: ["Record", recordTab] };

export function runView({ id, tab }) {
  if (state.missing) return gone(id);
  const run = state.run;
  if (!run) return state.trouble ? [] : [h("h1", { tabindex: -1 }, id), h("div", { class: "card skeleton", "aria-hidden": "true" })];
  const [, view] = TABS[tab] ?? TABS[""];
  return [
    h("div", { class: "headline" }, h("p", { class: "crumb" }, h("a", { href: "#/" }, "Runs")), h("h1", { tabindex: -1 }, run.id), statePill(run),
      isAtWork(run) && h("span", { class: "live" }, h("i", { class: state.streaming ? "on" : "" }), state.streaming ? "live" : "asking every 1.5 s")),
    h("p", { class: "words" }, run.words, " ", h("span", { class: "quiet" }, `Last news ${ago(run.updated)}.`)),
    progressBar(run), facts(run),
    h("nav", { class: "tabs", "aria-label": "Sides of this run" }, Object.entries(TABS).map(([key, [name]]) => h("a", { key, href: runHref(run.id, key), "aria-current": key === tab ? "page" : null }, name))),
    h("div", { class: "tab", key: `tab ${tab}` }, tab !== "playground" && signsPanel(run), view(run)),
  ];
}

function gone(id) {
  return h("section", { class: "card welcome" }, h("h1", { tabindex: -1 }, "This run is not there"),
    h("p", {}, `There is no run ${id} in the folder that is served. It may have been moved or deleted, or not have begun; should it come back, it is shown here.`),
    h("p", {}, h("a", { class: "button", href: "#/" }, "All runs")));
}

function facts(run) {
  const now = run.scores[run.distance];
  const rows = [
    [figureLabel(run.distance), number(now), run.best && (run.best.fid < now ? `best ${number(run.best.fid)}, round ${run.best.round}` : "the best so far")],
    ["classifier score", number(run.scores.score), run.images && run.scores.score !== undefined ? `${run.images.classes} is perfect` : null],
    ["clients", whole(run.clients), brief(run.partition)],
    ["algorithm", run.algorithm.split(" ")[0], `${run.model.split(" ")[0]}, ${run.objective.split(" ")[0]}`],
    ["data", run.data.split(" ")[0], `${plural(run["images-seen"], "image")} seen`],
    ["time", duration(run.seconds), run.round ? `${duration(run.seconds / run.round)} a round` : null],
  ];
  return h("dl", { class: "facts" }, rows.map(([name, value, more]) => h("div", { key: name }, h("dt", {}, name), h("dd", {}, h("b", {}, value), more && h("span", {}, more)))));
}
