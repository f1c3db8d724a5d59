/* What the page knows, and one way to have it drawn again. */

export const state = {
  route: { view: "runs" },
  runs: null, /* what /api/runs lists; null before it has answered */
  run: null, /* the run that is looked at, in full */
  searches: null, /* what /api/searches lists; null before it has answered */
  search: null, /* the search that is looked at, in full */
  missing: false, /* whether that run or search is not there (any more) */
  link: "ok", /* to the server: ok, gone, or token: it wants one */
  trouble: "", /* why the last answer could not be used, in words */
  cursor: null, /* the round that film, charts and clients show; null: the latest */
};

let draw = () => {};
let isDue = false;

export function onDraw(how) {
  draw = how;
}

export function redraw() {
  if (isDue) return;
  isDue = true;
  requestAnimationFrame(() => {
    isDue = false;
    draw();
  });
}

const locals = new Map();

/* Returns the state of one part of the page, which outlives that the part is taken off it. */
export function local(id, initial) {
  if (!locals.has(id)) locals.set(id, initial());
  return locals.get(id);
}

/* Storage may be forbidden; then the choice lasts as long as the page. */
export function remembered(key, otherwise) {
  try {
    return localStorage.getItem(`fedgan ${key}`) ?? otherwise;
  } catch {
    return otherwise;
  }
}

export function remember(key, value) {
  try {
    localStorage.setItem(`fedgan ${key}`, value);
  } catch {
    /* forbidden */
  }
}
