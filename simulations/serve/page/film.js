/* The samples over the rounds: the same noise each time, so that training plays as an animation. */

import { loadSample, loadTexts, sampleAddress } from "./api.js";
import { h } from "./dom.js";
import { local, redraw, state } from "./store.js";
import { areTexts, textScreen } from "./texts.js";
import { className, hasClasses, isAtWork, labelsOf } from "./words.js";

const AHEAD = 4; /* pictures fetched at a time */
const MOST_KEPT = 400;
const MOST_ROWS = 20; /* as drawn by the server */

export function film(run) {
  const rounds = run["sample-rounds"];
  if (!rounds.length) return h("section", { class: "card film" }, h("h2", {}, "Samples"), h("p", { class: "quiet empty" }, !isAtWork(run) ? "This run has no samples." : run.examples ? "No samples yet." : "Samples come once the clients have answered."));
  const own = local(`film ${run.id}`, () => ({ speed: 4, timer: 0, pictures: new Map(), underWay: 0, last: 0 }));
  if (run.round < own.last) forget(own); /* the run went back, and draws rounds again */
  own.last = run.round;
  const index = indexOf(rounds, state.cursor);
  fetchAround(run, own, index);
  const round = rounds[index];
  const isPlaying = own.timer !== 0;
  return h("section", { class: "card film", "aria-labelledby": "film-title" },
    h("div", { class: "row" }, h("h2", { id: "film-title", class: "grow" }, round === 0 ? "Samples before training" : `Samples after round ${round}`), isAtWork(run) && (state.cursor === null ? h("span", { class: "badge good" }, "latest") : h("button", { type: "button", class: "small", onclick: () => pick(own, null) }, "latest"))),
    areTexts(run) ? textScreen(run, own.pictures.get(round), index === rounds.length - 1) : h("div", { class: "screen" }, labels(run), h("img", { src: own.pictures.get(round) ?? sampleAddress(run.id, round), alt: `Generated samples ${round ? `after round ${round}` : "before training"}${hasClasses(run) ? ", a row a class" : ""}` })),
    h("div", { class: "reel" },
      h("button", { type: "button", class: "play", disabled: rounds.length < 2, "aria-label": isPlaying ? "Pause" : "Play all rounds", onclick: () => (isPlaying ? pause(own) : play(run, own)) }, h("span", { "aria-hidden": "true" }, isPlaying ? "❚❚" : "▶")),
      h("input", { type: "range", min: 0, max: rounds.length - 1, step: 1, value: String(index), "aria-label": "Round of the samples", "aria-valuetext": `round ${round}`, oninput: (event) => { pause(own); pick(own, rounds[Number(event.currentTarget.value)]); } }),
      h("output", {}, `${round}`),
      h("select", { "aria-label": "Speed", value: String(own.speed), onchange: (event) => { own.speed = Number(event.currentTarget.value); if (isPlaying) play(run, own); redraw(); } }, [[2, "slow"], [4, "normal"], [10, "fast"]].map(([value, words]) => h("option", { key: value, value }, words)))),
    h("p", { class: "quiet" }, caption(run)));
}

/* What each row is: pictures of many classes show the first of them. */
function labels(run) {
  if (!hasClasses(run)) return null;
  const names = labelsOf(run).slice(0, MOST_ROWS).map((label) => className(run, label));
  return h("div", { class: "rows", "aria-hidden": "true" }, names.map((name) => h("span", { title: name }, name)));
}

function caption(run) {
  const together = "The same noise at every round. Charts and clients show the round that is picked here.";
  if (areTexts(run)) return together;
  const classes = labelsOf(run).length;
  const rows = !hasClasses(run) ? "" : classes > MOST_ROWS ? `A row a class, the first ${MOST_ROWS} of ${classes}. ` : "A row a class. ";
  return `${rows}${together}`;
}

/* Returns which picture a round shows: its own, or the last before it. */
function indexOf(rounds, round) {
  if (round === null) return rounds.length - 1;
  const after = rounds.findIndex((it) => it > round);
  return after === -1 ? rounds.length - 1 : Math.max(0, after - 1);
}

function pick(own, round) {
  state.cursor = round;
  redraw();
}

function play(run, own) {
  clearInterval(own.timer);
  const first = state.run["sample-rounds"];
  if (indexOf(first, state.cursor) === first.length - 1) state.cursor = first[0];
  own.timer = setInterval(() => {
    if (state.run?.id !== run.id || state.route.view !== "run") return pause(own);
    const rounds = state.run["sample-rounds"];
    const next = indexOf(rounds, state.cursor) + 1;
    if (next < rounds.length && !own.pictures.has(rounds[next])) return undefined; /* waits for its picture */
    if (next >= rounds.length - 1) {
      pause(own);
      return pick(own, isAtWork(state.run) ? null : rounds.at(-1));
    }
    return pick(own, rounds[next]);
  }, 1000 / own.speed);
  redraw();
}

function pause(own) {
  clearInterval(own.timer);
  own.timer = 0;
  redraw();
}

function forget(own) {
  for (const address of own.pictures.values()) if (typeof address === "string") URL.revokeObjectURL(address);
  own.pictures.clear();
}

/* Fetches pictures or texts, those that come next first, so that the film does not stutter. */
function fetchAround(run, own, index) {
  const rounds = run["sample-rounds"];
  const order = [...rounds.slice(index), ...rounds.slice(0, index)].slice(0, MOST_KEPT);
  for (const round of order) {
    if (own.underWay >= AHEAD) return;
    if (own.pictures.has(round)) continue;
    own.pictures.set(round, areTexts(run) ? null : sampleAddress(run.id, round));
    own.underWay += 1;
    (areTexts(run) ? loadTexts : loadSample)(run.id, round)
      .then((address) => own.pictures.set(round, address))
      .catch(() => {}) /* its own address stays, and shows what is wrong */
      .finally(() => {
        own.underWay -= 1;
        redraw();
      });
  }
}
