/* Images of a run's generator, made as the controls are moved; of text see writing.js. */

import { generate, generateAddress } from "./api.js";
import { classes, optional, scoreOf, seed, slider } from "./controls.js";
import { h } from "./dom.js";
import { makeWhenChanged, save } from "./making.js";
import { choice } from "./parts.js";
import { local, redraw } from "./store.js";
import { morph } from "./morph.js";
import { hasClasses, isAtWork, labelsOf, plural, roundsOf } from "./words.js";
import { writing } from "./writing.js";

const PAUSE = 250; /* milliseconds after the last change */
const MOST_SHOWN = 200;
const COLUMNS = 10;
const MOST_COLUMNS = 12;
const FORMATS = { png: "PNG, one picture", webp: "WebP, one picture", jpeg: "JPEG, one picture", zip: "zip, a PNG an image", npz: "npz, arrays" };

export function playgroundTab(run) {
  if (!run.generator) {
    return h("section", { class: "card" }, h("h2", {}, "Playground"), h("p", { class: "quiet empty" }, run["checkpoint-rounds"].length ? "In this algorithm each client keeps its own generator, and the server has none to ask." : isAtWork(run) ? "There is no generator yet: it is there once the first checkpoint is written." : "This run left no checkpoint, so there is no generator to ask."));
  }
  if (run.texts) return writing(run);
  const own = local(`playground ${run.id}`, () => ({ mode: "draw", classes: new Set(), seed: 0, to: 1, num: 40, steps: 24, round: "last", truncation: null, keep: null, format: "png", scale: 1, mark: false, shown: null, url: "", note: "", failure: "", requested: "", timer: 0, turn: 0, isBusy: false }));
  want(run, own);
  return h("div", { class: "playground" }, controls(run, own), result(run, own));
}

/* What images are kept by: of the run's ways the first, where it has any. */
const trustOf = (run) => run.images?.trusts[0];
const RATED = { adversary: "those that the adversary rates as most real", classifier: "those that a classifier of digits is surest of" };

/* The request that the controls stand for. */
function requestOf(run, own) {
  const between = own.mode === "between";
  const classes = [...own.classes].sort((a, b) => a - b);
  const request = { num: between ? own.steps : own.num, seed: own.seed, round: /^\d+$/.test(own.round) ? Number(own.round) : own.round };
  if (hasClasses(run) && classes.length) request.labels = between ? [classes[0]] : classes;
  if (between) request.interpolate = { to: own.to };
  else {
    if (own.truncation !== null) request.truncation = own.truncation;
    if (own.keep !== null && trustOf(run)) Object.assign(request, { keep: own.keep, trust: trustOf(run) });
  }
  return request;
}

function fileRequest(run, own) {
  const request = { ...requestOf(run, own), format: own.format };
  if (own.scale > 1 && run.images) request.resize = { width: run.images.size * own.scale, height: run.images.size * own.scale, method: "lanczos" };
  if (own.mark) request.mark = true;
  return request;
}

const want = (run, own) => makeWhenChanged(run, own, requestOf(run, own), PAUSE, (request, noted) => images(run, own, request, noted));

async function images(run, own, request, noted) {
  const turn = own.turn;
  const columns = request.interpolate ? request.num : Math.min(request.num, columnsOf(run, own));
  const made = await generate(run.id, { ...request, format: "png", grid: { columns, padding: request.interpolate ? 0 : 2 } }, noted);
  const bitmap = await createImageBitmap(made.blob);
  if (turn === own.turn) {
    if (own.url) URL.revokeObjectURL(own.url);
    own.url = URL.createObjectURL(made.blob);
  }
  return { ...made, request, columns, bitmap };
}

/* How many images a row, so that those of a class stand below each other where that fits. */
function columnsOf(run, own) {
  const kinds = !hasClasses(run) ? 1 : own.classes.size || labelsOf(run).length;
  return kinds > MOST_COLUMNS ? COLUMNS : Math.max(1, Math.floor(COLUMNS / kinds)) * kinds;
}

function controls(run, own) {
  const change = (changes) => {
    Object.assign(own, changes);
    redraw();
  };
  const between = own.mode === "between";
  return h("section", { class: "card controls", "aria-labelledby": "controls-title" },
    h("h2", { id: "controls-title" }, "Playground"),
    h("div", { class: "switch", role: "group", "aria-label": "What to make" }, [["draw", "Draw"], ["between", "Between two"]].map(([mode, words]) => h("button", { key: mode, type: "button", "aria-pressed": String(own.mode === mode), onclick: () => change({ mode }) }, words))),
    classes(run, own, change),
    seed("Seed", own.seed, (value) => change({ seed: value })),
    between && seed("To seed", own.to, (value) => change({ to: value })),
    between ? slider("Steps", own.steps, { min: 2, max: 60, step: 1 }, (steps) => change({ steps })) : slider("Number", own.num, { min: 1, max: MOST_SHOWN, step: 1 }, (num) => change({ num })),
    choice("Generator", own.round, roundsOf(run), (round) => change({ round })),
    !between && optional("Truncation", "Off: the noise as it is. Lower: likelier images, less variety.", own.truncation, { min: 0.1, max: 3, step: 0.1, otherwise: 1 }, (truncation) => change({ truncation })),
    !between && trustOf(run) && optional("Keep the most trusted", `More images are made, and this share is kept: ${RATED[trustOf(run)]}. They vary less.`, own.keep, { min: 0.1, max: 1, step: 0.05, otherwise: 0.5 }, (keep) => change({ keep })));
}

function result(run, own) {
  const { shown } = own;
  return h("section", { class: "card result", "aria-labelledby": "result-title", "aria-busy": String(own.isBusy) },
    h("h2", { id: "result-title" }, shown?.request.interpolate ? `From seed ${shown.request.seed} to seed ${shown.request.interpolate.to}` : "Images"),
    h("div", { role: "status" },
      own.failure && h("p", { class: "note error" }, own.failure, " ", h("button", { type: "button", class: "small", onclick: () => { own.requested = ""; redraw(); } }, "try again")),
      own.note && h("p", { class: "note warning" }, own.note),
      shown && !own.failure && h("p", { class: "quiet made" }, `${plural(shown.request.num, "image")} of round ${shown.round}`, shown.rejected > 0 && `; ${shown.rejected} made and not kept`, shown.model && [". Weights ", h("code", { title: shown.model }, shown.model.slice(0, 12))], ". ", scoreOf(run, Number(shown.round)))),
    shown && (shown.request.interpolate ? morph(run, own) : h("div", { class: `images-made${own.isBusy ? " stale" : ""}` }, h("img", { src: own.url, alt: `${plural(shown.request.num, "generated image")}, ${shown.columns} a row`, style: { "max-width": `${Math.min(110 * shown.columns, 960)}px` } }))),
    !shown && !own.failure && h("p", { class: "quiet empty" }, "Making images…"),
    downloads(run, own));
}

function downloads(run, own) {
  const change = (key, parse = String) => (value) => {
    own[key] = parse(value);
    redraw();
  };
  const size = run.images?.size ?? 0;
  const command = `curl -s ${generateAddress(run.id)} -H 'Content-Type: application/json' -d '${JSON.stringify(fileRequest(run, own))}' -o images.${own.format}`;
  return h("div", { class: "downloads" },
    h("div", { class: "row" },
      choice("File", own.format, Object.entries(FORMATS), change("format")),
      choice("Size", String(own.scale), [1, 2, 4, 8].map((it) => [String(it), it === 1 ? `${size} px` : `${size * it} px`]), change("scale", Number)),
      h("label", { class: "check" }, h("input", { type: "checkbox", checked: own.mark, onchange: (event) => { own.mark = event.currentTarget.checked; redraw(); } }), "visible mark"),
      h("button", { type: "button", class: "main", disabled: own.isSaving, onclick: () => save(run, own, fileRequest(run, own)) }, own.isSaving ? "Making…" : "Download")),
    h("p", { class: "quiet" }, "Every file says that a generator made it, and which: fedgan inspect FILE reads it."),
    h("details", {}, h("summary", {}, "The same with curl"), h("pre", {}, h("code", {}, command)), h("p", { class: "quiet" }, "A server with a token needs it too: -H 'Authorization: Bearer ...'")));
}
