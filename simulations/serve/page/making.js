/* Has a run's model make what the controls of a playground stand for, as they are moved, and files of it. */

import { generate } from "./api.js";
import { explain, saveAs } from "./controls.js";
import { redraw } from "./store.js";

/* Makes anew what the page shows when the request is another one than the last: also when a newer checkpoint has landed.
   `pause`: milliseconds after the last change. `make(request, noted)` returns what is shown. */
export function makeWhenChanged(run, own, request, pause, make) {
  const newest = own.round === "best" ? (run.best?.round ?? run.round) : own.round === "last" ? run["checkpoint-rounds"].at(-1) : own.round;
  const key = JSON.stringify([run.id, request, newest]);
  if (key === own.requested) return;
  own.requested = key;
  clearTimeout(own.timer);
  own.timer = setTimeout(() => show(own, () => make(request, noted(own))), own.shown ? pause : 0);
}

async function show(own, make) {
  const turn = (own.turn += 1);
  own.isBusy = true;
  redraw();
  try {
    const shown = await make();
    if (turn !== own.turn) return;
    Object.assign(own, { shown, failure: "", note: "" });
  } catch (failure) {
    if (turn !== own.turn) return;
    Object.assign(own, { failure: explain(failure), note: "" });
  }
  own.isBusy = false;
  redraw();
}

/* Makes a file and hands it to the browser. */
export async function save(run, own, request) {
  own.isSaving = true;
  redraw();
  try {
    saveAs(await generate(run.id, request, noted(own)));
    Object.assign(own, { failure: "", note: "" });
  } catch (failure) {
    Object.assign(own, { failure: explain(failure), note: "" });
  }
  own.isSaving = false;
  redraw();
}

/* What is called with words while a busy server is waited for. */
const noted = (own) => (words) => {
  own.note = words;
  redraw();
};
