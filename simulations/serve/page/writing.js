/* Texts of a run's model, written as the controls are moved. */

import { generate, generateAddress } from "./api.js";
import { classes, optional, scoreOf, seed, slider } from "./controls.js";
import { h } from "./dom.js";
import { makeWhenChanged, save } from "./making.js";
import { choice } from "./parts.js";
import { local, redraw } from "./store.js";
import { hasClasses, plural, roundsOf } from "./words.js";

const PAUSE = 400; /* milliseconds after the last change */
const MOST_TEXTS = 40;
const FORMATS = { txt: "text, apart by a line ---", jsonl: "jsonl, a line of JSON a text", csv: "csv, a table", json: "JSON" };

export function writing(run) {
  const own = local(`writing ${run.id}`, () => ({ prompt: "", classes: new Set(), seed: 0, num: 4, length: 300, temperature: 0.8, topP: null, normalise: false, unique: false, sort: false, without: "", round: "last", format: "txt", shown: null, note: "", failure: "", requested: "", timer: 0, turn: 0, isBusy: false }));
  want(run, own);
  return h("div", { class: "playground" }, controls(run, own), result(run, own));
}

/* The request that the controls stand for. */
function requestOf(run, own) {
  const request = { num: own.num, seed: own.seed, length: own.length, round: /^\d+$/.test(own.round) ? Number(own.round) : own.round };
  if (own.prompt) request.prompts = [own.prompt];
  if (own.temperature !== null) request.temperature = own.temperature;
  if (own.topP !== null) request["top-p"] = own.topP;
  for (const name of ["normalise", "unique", "sort"]) if (own[name]) request[name] = true;
  const words = own.without.split(",").map((it) => it.trim()).filter(Boolean);
  if (words.length) request["without-words"] = words;
  if (hasClasses(run) && own.classes.size) request.labels = [...own.classes].sort((a, b) => a - b);
  return request;
}

const want = (run, own) => makeWhenChanged(run, own, requestOf(run, own), PAUSE, async (request, noted) => {
  const made = await generate(run.id, { ...request, format: "json" }, noted);
  const found = JSON.parse(await made.blob.text());
  return { ...made, texts: found.texts, remarks: found.remarks };
});

function controls(run, own) {
  const change = (changes) => {
    Object.assign(own, changes);
    redraw();
  };
  const check = (name, words) => h("label", { class: "check" }, h("input", { type: "checkbox", checked: own[name], onchange: (event) => change({ [name]: event.currentTarget.checked }) }), words);
  return h("section", { class: "card controls", "aria-labelledby": "controls-title" },
    h("h2", { id: "controls-title" }, "Playground"),
    h("label", { class: "field" }, h("span", {}, "Prompt"), h("textarea", { class: "prompt", rows: 3, maxlength: 2000, placeholder: "Texts go on from here; empty, they begin.", value: own.prompt, oninput: (event) => change({ prompt: event.currentTarget.value }) })),
    optional("Temperature", "Off: the model's own. Lower: likelier characters, less variety.", own.temperature, { min: 0.1, max: 2, step: 0.05, otherwise: 0.8 }, (temperature) => change({ temperature })),
    optional("Top-p", "Off: the model's own. Only the likeliest characters of this much probability together.", own.topP, { min: 0.05, max: 1, step: 0.05, otherwise: 0.95 }, (topP) => change({ topP })),
    slider("Characters", own.length, { min: 50, max: 2000, step: 50 }, (length) => change({ length })),
    slider("Number", own.num, { min: 1, max: MOST_TEXTS, step: 1 }, (num) => change({ num })),
    classes(run, own, change),
    seed("Seed", own.seed, (value) => change({ seed: value })),
    choice("Model", own.round, roundsOf(run), (round) => change({ round })),
    h("details", {}, h("summary", {}, "Afterwards"),
      check("normalise", "single spaces"),
      h("label", { class: "field" }, h("span", {}, "Without texts that hold"), h("input", { type: "text", maxlength: 2000, placeholder: "words or phrases, by comma", value: own.without, oninput: (event) => change({ without: event.currentTarget.value }) })),
      check("unique", "no text twice"),
      check("sort", "in alphabetical order")));
}

function result(run, own) {
  const { shown } = own;
  return h("section", { class: "card result", "aria-labelledby": "result-title", "aria-busy": String(own.isBusy) },
    h("h2", { id: "result-title" }, "Texts"),
    h("div", { role: "status" },
      own.failure && h("p", { class: "note error" }, own.failure, " ", h("button", { type: "button", class: "small", onclick: () => { own.requested = ""; redraw(); } }, "try again")),
      own.note && h("p", { class: "note warning" }, own.note),
      shown && !own.failure && shown.remarks.map((remark) => h("p", { class: "note warning" }, `${remark[0].toUpperCase()}${remark.slice(1)}.`)),
      shown && !own.failure && h("p", { class: "quiet made" }, `${plural(shown.texts.length, "text")} of round ${shown.round}`, shown.model && [". Weights ", h("code", { title: shown.model }, shown.model.slice(0, 12))], ". ", scoreOf(run, Number(shown.round)))),
    shown && h("div", { class: `texts-made${own.isBusy ? " stale" : ""}` }, shown.texts.map((it) => h("article", { key: it.index },
      it.class && hasClasses(run) && h("p", { class: "quiet" }, it.class),
      h("p", { class: "text" }, h("b", {}, it.text.slice(0, it.prompt.length)), it.text.slice(it.prompt.length))))),
    !shown && !own.failure && h("p", { class: "quiet empty" }, "Writing…"),
    downloads(run, own));
}

function downloads(run, own) {
  const request = { ...requestOf(run, own), format: own.format };
  const body = JSON.stringify(request).replaceAll("'", "'\\''");
  const command = `curl -s ${generateAddress(run.id)} -H 'Content-Type: application/json' -d '${body}' -o texts.${own.format}`;
  return h("div", { class: "downloads" },
    h("div", { class: "row" },
      choice("File", own.format, Object.entries(FORMATS), (format) => { own.format = format; redraw(); }),
      h("button", { type: "button", class: "main", disabled: own.isSaving, onclick: () => save(run, own, request) }, own.isSaving ? "Writing…" : "Download")),
    h("details", {}, h("summary", {}, "The same with curl"), h("pre", {}, h("code", {}, command)), h("p", { class: "quiet" }, "A server with a token needs it too: -H 'Authorization: Bearer ...'")));
}
