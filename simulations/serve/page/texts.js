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

/* The first text of a run's last samples, as its picture in the list of runs. */
export function thumbnail(run, round) {
  const own = local(`thumb ${run.id}`, () => ({ round: -1, text: "" }));
  const stamp = `${round} ${Math.floor(run.updated)}`;
  if (own.stamp !== stamp) {
    own.stamp = stamp;
    loadTexts(run.id, round)
      .then((found) => { own.text = found.sections[0]?.texts[0] ?? ""; })
      .catch(() => {}) /* the place stays empty */
      .finally(redraw);
  }
  return h("span", { class: "excerpt" }, own.text);
}
