/* Keeps what is shown up to date by asking again and again, a hidden page not at all.

   Each question is over within moments. A stream would hold one of the six connections that a browser has to a server,
   so that a few windows side by side would leave none for anything else. */

import { listRuns, listSearches, showRun, showSearch } from "./api.js";
import { redraw, state } from "./store.js";
import { isAtWork, spokenNews } from "./words.js";

const QUICK = 1000; /* milliseconds */
const CALM = 5000;
const TROUBLED = 2000;

let end = () => {};

/* Begins to watch what a route shows, and ends to watch what the last one showed. */
export function watch(route) {
  end();
  state.missing = false;
  state.trouble = "";
  end = route.view === "run" ? watchRun(route.id) : route.view === "search" ? watchSearch(route.id) : loop(watchRuns);
}

/* Asks again now, as when a token was given. */
export let refresh = () => {};

/* Calls look() again after the pause that it returns, at once where the page is shown again; returns how to end it. */
function loop(look) {
  let timer = 0;
  let isBusy = false;
  let isOver = false;

  async function turn() {
    if (isBusy || isOver) return;
    clearTimeout(timer);
    isBusy = true;
    const began = performance.now();
    let pause = TROUBLED;
    try {
      pause = await look(() => isOver);
      if (!isOver) Object.assign(state, { link: "ok", trouble: "" });
    } catch (failure) {
      if (!isOver) fail(failure);
    }
    isBusy = false;
    if (isOver) return;
    redraw();
    const spent = performance.now() - began; /* a server that takes long is asked less often */
    if (!document.hidden) timer = setTimeout(turn, Math.max(pause, 3 * spent));
  }

  const onShown = () => (document.hidden ? clearTimeout(timer) : turn());
  document.addEventListener("visibilitychange", onShown);
  refresh = turn;
  turn();
  return () => {
    isOver = true;
    clearTimeout(timer);
    document.removeEventListener("visibilitychange", onShown);
  };
}

function fail(failure) {
  if (failure.kind === "gone" || failure.kind === "token") state.link = failure.kind;
  else {
    state.link = "ok";
    state.missing = failure.kind === "missing";
    state.trouble = state.missing ? "" : (failure.message ?? String(failure));
    if (!failure.kind) console.error(failure); /* a defect of this page */
  }
}

async function watchRuns(isOver) {
  const [runs, searches] = await Promise.all([listRuns(), listSearches()]);
  if (!isOver()) Object.assign(state, { runs, searches });
  return runs.some(isAtWork) ? QUICK : CALM / 2;
}

function watchRun(id) {
  if (state.run?.id !== id) state.run = null;
  return loop(async (isOver) => {
    const run = await showRun(id);
    if (!isOver()) {
      tell(state.run, run);
      state.run = run;
      state.missing = false;
    }
    return isAtWork(run) ? QUICK : CALM;
  });
}

function watchSearch(id) {
  if (state.search?.id !== id) state.search = null;
  return loop(async (isOver) => {
    const search = await showSearch(id);
    if (!isOver()) Object.assign(state, { search, missing: false });
    return search["at-work"] ? 2 * QUICK : CALM;
  });
}

function tell(before, now) {
  const words = before && before.id === now.id ? spokenNews(before, now) : "";
  if (words) document.getElementById("news").textContent = words;
}
