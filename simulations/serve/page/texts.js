/* Samples that are text: those of one class below each other, beside real texts of the class. */

import { loadTexts } from "./api.js";
import { h } from "./dom.js";
import { choice } from "./parts.js";
import { local, redraw } from "./store.js";

export const areTexts = (run) => run["samples-are"] === "txt";

/* The screen of the film for texts. isLatest: whether they are of the last round that there are any of, the only one whose
   samples at other temperatures are kept. */
export function textScreen(run, found, isLatest) {
  if (!found) return h("p", { class: "quiet empty" }, "Loading…");
  const own = local(`texts ${run.id}`, () => ({ heading: "", way: "" }));
  const change = (key) => (value) => {
    own[key] = value;
    redraw();
  };
  const headings = found.sections.map((it) => it.heading);
  const heading = headings.includes(own.heading) ? own.heading : headings[0];
  const ways = isLatest ? Object.keys(found.ways) : [];
  const way = ways.includes(own.way) ? own.way : "";
  const made = textsOf(way ? found.ways[way] : found.sections, heading);
  const real = textsOf(found.real, heading);
  return h("div", { class: "texts" },
    h("div", { class: "row" },
      headings.length > 1 && choice("Class", heading, headings.map((it) => [it, it]), change("heading")),
      ways.length > 0 && choice("Sampled at", way, [["", found.way || "as configured"], ...ways.map((it) => [it, it])], change("way"))),
    h("div", { class: `sides${real.length ? "" : " alone"}` },
      side("made", "Generated", made),
      real.length > 0 && side("real", "Real, never trained on", real)));
}

const textsOf = (sections, heading) => sections.find((it) => it.heading === heading)?.texts ?? [];

function side(key, title, texts) {
  return h("div", { key, role: "group", "aria-label": title }, h("h3", {}, title), texts.map((text, at) => h("blockquote", { key: at }, text)));
}

/* The texts of a run's last samples by class, fetched again when there are newer ones; none before they are there. */
function latest(run, round) {
  const own = local(`thumb ${run.id}`, () => ({ stamp: "", sections: [] }));
  const stamp = `${round} ${Math.floor(run.updated)}`;
  if (own.stamp !== stamp) {
    own.stamp = stamp;
    loadTexts(run.id, round)
      .then((found) => { own.sections = found.sections; })
      .catch(() => {}) /* the place stays empty */
      .finally(redraw);
  }
  return own.sections;
}

/* The first of them, as a run's picture in the list of runs. */
export function thumbnail(run, round) {
  return h("span", { class: "excerpt" }, latest(run, round)[0]?.texts[0] ?? "");
}

/* What several runs write, beside each other; nothing where fewer than two of them do. */
export function textsBeside(runs) {
  const those = runs.filter((run) => areTexts(run) && run["sample-rounds"].length);
  if (those.length < 2) return null;
  const own = local("texts beside", () => ({ heading: "" }));
  const found = those.map((run) => latest(run, run["sample-rounds"].at(-1)));
  const headings = [...new Set(found.flatMap((sections) => sections.map((it) => it.heading)))];
  const heading = headings.includes(own.heading) ? own.heading : headings[0];
  return h("div", { class: "texts" },
    h("div", { class: "row" }, h("h3", { class: "grow" }, "What they write"),
      headings.length > 1 && choice("Class", heading, headings.map((it) => [it, it]), (value) => { own.heading = value; redraw(); })),
    h("div", { class: "sides several" }, those.map((run, at) => side(run.id, `${run.id}, round ${run["sample-rounds"].at(-1)}`, textsOf(found[at], heading)))));
}
