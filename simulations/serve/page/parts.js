/* Small parts that several views share: states, signs of trouble, histograms. */

import { h } from "./dom.js";
import { local, redraw, state } from "./store.js";
import { className, clientName, duration, isAtWork, isRemark, KINDS, number, plural, roundOf, whole } from "./words.js";

const STATES = { running: "▶", "waiting for nodes": "◌", finished: "✓", failed: "✕" };
const FIRST_SIGNS = 4;
const MOST_NAMED = 24; /* classes that have room for their names below bars */

export function statePill(run) {
  return h("span", { class: `pill ${run.state.replaceAll(" ", "-")}` }, h("span", { "aria-hidden": "true" }, STATES[run.state] ?? "•"), run.state);
}

export function progressBar(run) {
  return h("div", { class: "progress" },
    Number.isFinite(run.progress) && h("progress", { max: 1, value: run.progress, "aria-label": `Progress of ${run.id}` }),
    h("span", {}, roundOf(run)),
    Number.isFinite(run["seconds-left"]) && h("span", { class: "left" }, `about ${duration(run["seconds-left"])} left`));
}

/* What cannot be read of a run, and why it ended, where that is no good end. */
export function troubleNotes(run) {
  return [
    run.problem && h("p", { class: "note warning", key: "problem" }, h("b", {}, "Part of this run's record cannot be read. "), run.problem),
    run.state === "failed" && run.words !== run.problem && h("p", { class: "note error", key: "failed" }, run.words),
  ];
}

/* "2 signs of trouble and 1 remark" */
export function countSigns(run) {
  const remarks = run.signs.filter(isRemark).length;
  const troubles = run.signs.length - remarks;
  return [troubles && plural(troubles, "sign of trouble", "signs of trouble"), remarks && plural(remarks, "remark on scores", "remarks on scores")].filter(Boolean).join(" and ");
}

/* What goes wrong, at a glance and in words. */
export function signsPanel(run) {
  const own = local(`signs ${run.id}`, () => ({ all: false }));
  const isSound = run.signs.every(isRemark);
  if (!run.signs.length) return verdict(run);
  const shown = own.all ? run.signs : run.signs.slice(0, FIRST_SIGNS);
  const kinds = [...new Set(run.signs.map((sign) => sign.kind))];
  return [h("section", { class: "signs", key: "signs", "aria-labelledby": "signs-title" },
    h("h2", { id: "signs-title" }, countSigns(run)),
    h("ul", {}, shown.map((sign) => h("li", { class: sign.severity },
      h("span", { class: "kind" }, h("span", { "aria-hidden": "true" }, sign.severity === "error" ? "✕ " : "▲ "), h("span", { class: "unseen" }, `${sign.severity}: `), KINDS[sign.kind]?.[0] ?? sign.kind),
      h("span", { class: "words" }, sign.words),
      h("span", { class: "where" },
        Number.isFinite(sign.round) && (sign.round > 0 ? h("button", { type: "button", class: "small", onclick: () => showRound(sign.round), title: `Show round ${sign.round}` }, `round ${sign.round}`) : h("span", { class: "quiet" }, "before round 1")),
        Number.isFinite(sign.client) && h("a", { href: clientHref(run, sign.client) }, clientName(run, sign.client)))))),
    run.signs.length > FIRST_SIGNS && h("button", { type: "button", class: "small", "aria-expanded": String(own.all), onclick: () => { own.all = !own.all; redraw(); } }, own.all ? "show fewer" : `show all ${run.signs.length}`),
    h("details", {}, h("summary", {}, kinds.length === 1 ? "What this means" : "What these mean"), h("dl", {}, kinds.map((kind) => [h("dt", {}, KINDS[kind]?.[0] ?? kind), h("dd", {}, KINDS[kind]?.[1] ?? "")])))),
  isSound && verdict(run)];
}

/* What was looked at, and found in order; and what cannot be said, as the figures that would show it are not there. */
function verdict(run) {
  if (!run.round) return isAtWork(run) ? h("p", { class: "quiet", key: "verdict" }, "Nothing to say before the first round is done.") : null;
  const { rounds } = run.curves;
  const lost = new Set(run["client-table"].flatMap((row) => row["lost-rounds"])).size;
  const found = [...run.checks.filter((it) => it["is-measured"]).map((it) => it.words), lost ? `nobody left out of the latest rounds, though in ${plural(lost, "round")} before` : "nobody left out"];
  const unmeasured = run.checks.filter((it) => !it["is-measured"]).map((it) => it.unmeasured);
  if (!unmeasured.length && run.state !== "failed") return h("p", { class: "sound", key: "verdict" }, h("span", { "aria-hidden": "true" }, "✓ "), `Nothing looks wrong: ${found.join(", ")}.`);
  return h("p", { class: "unsure", key: "verdict" }, `Of what can be checked in ${plural(rounds.length, "round")}, nothing looks wrong: ${found.join(", ")}.`, unmeasured.length > 0 && ` Could not be checked: ${unmeasured.join("; ")}.`);
}

export function showRound(round) {
  state.cursor = round;
  redraw();
}

export const runHref = (id, tab = "") => `#/run/${encodeURIComponent(id)}${tab ? `/${tab}` : ""}`;
export const clientHref = (run, client) => runHref(run.id, `clients/${client}`);

/* How many examples of each class, as bars, with the figures for whoever does not see them. */
export function histogram(run, counts, most, isLarge = false) {
  if (!counts) return h("span", { class: "quiet" }, "classes not disclosed");
  if (counts.length < 2) return h("span", { class: "quiet" }, "without labels");
  const words = counts.map((count, label) => [count, label]).filter(([count]) => count).map(([count, label]) => `${className(run, label)}: ${whole(count)}`).join(", ");
  return h("span", { class: `histogram${isLarge ? " large" : ""}${counts.length > MOST_NAMED ? " dense" : ""}`, role: "img", "aria-label": `Examples by class: ${words}`, title: words },
    counts.map((count, label) => h("span", {}, h("i", { class: count ? "" : "none", style: { height: `${count ? Math.max(6, ((isLarge ? 80 : 100) * count) / most) : 2}%` } }), isLarge && counts.length <= MOST_NAMED && h("small", {}, className(run, label)))));
}

/* A figure with a bar behind it that shows it against the largest. */
export function bar(value, most, words = number(value)) {
  if (value === null || value === undefined) return h("span", { class: "quiet" }, "–");
  return h("span", { class: "bar-cell" }, h("i", { style: { width: `${Math.max(1, Math.min(100, (100 * Math.abs(value)) / (most || 1)))}%` } }), h("span", {}, words));
}

/* Returns the beginning of a long list, less of it on a phone, or all of it once that was asked for: see moreButton. */
export function few(id, list, most) {
  return local(`few ${id}`, () => ({ all: false })).all ? list : list.slice(0, isNarrow.matches ? Math.ceil(most / 4) : most);
}

export function moreButton(id, list, most) {
  const own = local(`few ${id}`, () => ({ all: false }));
  if (!own.all && few(id, list, most).length === list.length) return null;
  return h("button", { type: "button", class: "small more", "aria-expanded": String(own.all), onclick: () => { own.all = !own.all; redraw(); } }, own.all ? "show fewer" : `show all ${whole(list.length)}`);
}

const isNarrow = matchMedia("(max-width: 760px)");
isNarrow.addEventListener("change", redraw);

/* Returns a select whose options are [value, words]. */
export function choice(label, value, options, onchange) {
  return h("label", { class: "field" }, h("span", {}, label),
    h("select", { value, onchange: (event) => onchange(event.currentTarget.value) }, options.map(([key, words]) => h("option", { key, value: key }, words))));
}
