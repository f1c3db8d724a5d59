/* The server's addresses, and its refusals as failures of a known kind with words to show. */

import { learn } from "./words.js";

/* Where the page is, so that it works below any path of a proxy: /fedgan/ as well as /. */
const HERE = new URL(".", import.meta.url);
const addressOf = (path) => new URL(path, HERE).href;

const PATIENCE = 20_000; /* milliseconds */
const LONG_PATIENCE = 90_000;

export class Failure extends Error {
  constructor(kind, words, retryAfter = 0) {
    super(words);
    this.kind = kind;
    this.retryAfter = retryAfter;
  }
}

const KINDS = { 401: "token", 403: "refused", 404: "missing", 409: "unready", 413: "refused", 422: "refused", 429: "busy" };

async function ask(path, options = {}, patience = PATIENCE) {
  let answer;
  try {
    answer = await fetch(addressOf(path), { credentials: "same-origin", signal: AbortSignal.timeout(patience), ...options });
  } catch (error) {
    const late = error.name === "TimeoutError";
    throw new Failure("gone", late ? `no answer within ${patience / 1000} seconds` : "the server cannot be reached");
  }
  if (answer.ok || answer.status === 304) return answer;
  let words = "";
  try {
    words = (await answer.json()).detail;
  } catch {
    /* not in JSON: the status must do */
  }
  if (typeof words !== "string" || !words) words = `the server answered with status ${answer.status}`;
  const kind = KINDS[answer.status] ?? (answer.status >= 500 ? "defect" : "refused");
  throw new Failure(kind, words, Number(answer.headers.get("Retry-After")) || 0);
}

/* The last answer of each address: what has not changed since is not sent, read or drawn again. */
const last = new Map();
const MOST_KEPT = 20;

async function askJson(path, isWhole) {
  const before = last.get(path);
  const answer = await ask(path, before ? { headers: { "If-None-Match": before.tag } } : {});
  if (answer.status === 304) return before.found;
  let found = null;
  try {
    found = await answer.json();
  } catch {
    /* what is null is not whole */
  }
  if (!found || !isWhole(found)) {
    throw new Failure("malformed", `${path} was not answered as expected: is this the page of another version?`);
  }
  learn(found);
  const tag = answer.headers.get("ETag");
  last.delete(path);
  if (tag) last.set(path, { tag, found });
  if (last.size > MOST_KEPT) last.delete(last.keys().next().value);
  return found;
}

const runPath = (id) => `api/runs/${encodeURIComponent(id)}`;

export async function listRuns() {
  return (await askJson("api/runs", (it) => Array.isArray(it.runs) && it.runs.every((run) => run.id && run.state))).runs;
}

export function showRun(id) {
  const isWhole = (it) => it.state && it.curves && Array.isArray(it.curves.rounds) && Array.isArray(it["client-table"]);
  return askJson(runPath(id), isWhole);
}

export async function listSearches() {
  return (await askJson("api/searches", (it) => Array.isArray(it.searches))).searches;
}

export function showSearch(id) {
  return askJson(`api/searches/${encodeURIComponent(id)}`, (it) => Array.isArray(it.rows) && Array.isArray(it.parameters));
}

const samplePath = (id, round) => `${runPath(id)}/samples/${round}.png`;

export const sampleAddress = (id, round) => addressOf(samplePath(id, round));

/* Returns an address of the picture in this page's memory. */
export async function loadSample(id, round) {
  return URL.createObjectURL(await (await ask(samplePath(id, round))).blob());
}

/* Returns the samples of a round as texts, by class, with those made in other ways and real ones beside them. */
export const loadTexts = (id, round) => askJson(`${runPath(id)}/samples/${round}.json`, (it) => Array.isArray(it.sections));

const generatePath = (id) => `${runPath(id)}/generate`;

export const generateAddress = (id) => addressOf(generatePath(id));

/* Returns images as a file, and where they come from. Comes again a few times when the server is busy. */
export async function generate(id, request, onBusy) {
  for (let attempt = 1; ; attempt += 1) {
    try {
      const answer = await ask(
        generatePath(id),
        { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(request) },
        LONG_PATIENCE,
      );
      const name = /filename="([^"]+)"/.exec(answer.headers.get("Content-Disposition") ?? "")?.[1] ?? "images";
      return {
        blob: await answer.blob(),
        name,
        round: answer.headers.get("X-Fedgan-Round"),
        rejected: Number(answer.headers.get("X-Fedgan-Rejected")) || 0,
        model: answer.headers.get("X-Fedgan-Model-Sha256") ?? "",
      };
    } catch (failure) {
      if (failure.kind !== "busy" || attempt === 4) throw failure;
      const seconds = Math.min(10, failure.retryAfter || 1) * attempt;
      onBusy(`The server is busy; trying again in ${seconds} s.`);
      await new Promise((done) => setTimeout(done, 1000 * seconds));
    }
  }
}

/* Gives the server its token, which answers with a cookie that scripts cannot read. */
export async function enter(token) {
  await ask(`./?token=${encodeURIComponent(token)}`);
}
