/* Figures, times and states in words. */

/* What the server's tables say: each score by its name, and what people call the figures that clients tell, those first
   that tell most. */
export const SCORES = {};
export const FIGURES = {};

/* Takes in the tables of an answer about one run or all. What an objective declares goes before what a journal is left to
   call by its own name. */
export function learn(found) {
  for (const it of found["score-table"] ?? []) SCORES[it.name] = it;
  for (const run of found.runs ?? [found]) {
    for (const it of run.figures ?? []) if (it.declared || !(it.name in FIGURES)) FIGURES[it.name] = it.label;
  }
}

/* Scores of one form, in the table's order; of clients or of classes, where that is asked. */
export const scoresOf = (form, of = null) => Object.values(SCORES).filter((it) => it.form === form && (of === null || it.of === of));

/* For sorting figures: those that tell most come first. */
export const rank = (key) => (key in FIGURES ? Object.keys(FIGURES).indexOf(key) : 99);

export const figureLabel = (key) => FIGURES[key] ?? SCORES[key]?.label ?? key.replaceAll("-", " ");

export const KINDS = {
  collapse: ["Collapse", "The generator makes fewer kinds of images than it should: some classes, or many copies of one image. Look at the samples: rows that look alike have collapsed."],
  coverage: ["Low coverage", "Most real images have no generated ones near them. Early on that is how it begins; at the end of a long run it means that the generator makes few kinds of images, or images of low quality."],
  divergence: ["Divergence", "Training goes away from its goal instead of towards it: the distance to real examples grows, or numbers stop being finite. A run goes back to its last good round by itself where it may; lower learning rates help."],
  refused: ["Refused", "A client's update did not enter the mean of a round, as it was not usable or stood out. One refusal costs little; a client that is refused always contributes nothing."],
  "lost-round": ["Lost round", "Too few clients sent something usable, so a round was done again."],
  drift: ["Drift", "A client's weights end far from everybody's mean: its examples differ from the others', or its training goes wrong."],
  stopped: ["Stopped", "The run ended before its last round. fedgan simulate --resume goes on from its last whole round."],
  record: ["Record", "Part of the run's own record cannot be read, so figures of some rounds may be missing."],
  "not-scored": ["Not scored", "Some scores of this run are not computed. Without them nothing here shows how good its samples are."],
  features: ["Features", "Scores compare features that a network finds in images. A network that was trained on other kinds of images finds little that matters in these, so scores say less than they seem to."],
};

/* Signs that tell what is known of a run, and are no trouble by themselves. */
export const isRemark = (sign) => sign.kind === "not-scored" || sign.kind === "features";

export function number(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 0.001 || size >= 1e6)) return value.toExponential(1);
  if (size >= 1000) return Math.round(value).toLocaleString("en");
  const words = Number.isInteger(value) ? String(value) : value.toPrecision(3);
  return words.replace("-", "−");
}

/* The same without zeros at the end, for scales. */
export function tick(value, digits = 3) {
  const size = Math.abs(value);
  if (size !== 0 && (size < 0.001 || size >= 1e6)) return Number(value.toPrecision(digits)).toExponential().replace("-", "−");
  return size < 1000 ? String(Number(value.toPrecision(digits))).replace("-", "−") : Number(value.toPrecision(Math.max(digits, 4))).toLocaleString("en").replace("-", "−");
}

/* What a run's record does not tell is said to be unknown: no default stands in for it. */
export const UNKNOWN = "unknown";
const isKnown = (value) => value !== null && value !== undefined && value !== "";

/* The name of a component as configured, without its options. */
export const nameOf = (component) => (isKnown(component) ? String(component).split(" ")[0] : UNKNOWN);

/* A component as configured, without what is off. */
export const brief = (component) => (isKnown(component) ? component.replace(/ (examples-per-client=0|min-examples=1)\b/g, "") : UNKNOWN);

export const whole = (value) => (isKnown(value) ? value.toLocaleString("en") : UNKNOWN);

export const roundOf = (run) => `round ${whole(run.round)} of ${whole(run.rounds)}`;

export const percent = (value) => `${number(100 * value)} %`;

export function bytes(value) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let size = value;
  let unit = 0;
  for (; size >= 1000 && unit < units.length - 1; unit += 1) size /= 1000;
  return `${number(size)} ${units[unit]}`;
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 10) return `${number(seconds)} s`;
  const all = Math.round(seconds);
  if (all < 60) return `${all} s`;
  if (all < 3600) return `${Math.floor(all / 60)} min ${String(all % 60).padStart(2, "0")} s`;
  if (all < 86400) return `${Math.floor(all / 3600)} h ${String(Math.floor((all % 3600) / 60)).padStart(2, "0")} min`;
  return `${Math.floor(all / 86400)} d ${Math.floor((all % 86400) / 3600)} h`;
}

export function ago(time) {
  if (!time) return "at an unknown time";
  const seconds = Math.max(0, Date.now() / 1000 - time);
  return seconds < 5 ? "just now" : `${duration(seconds).replace(/ \d\d s$/, "")} ago`;
}

/* "3 clients", "1 client"; "an unknown number of clients" where it is not known. */
export const plural = (count, one, many = `${one}s`) => (isKnown(count) ? `${whole(count)} ${count === 1 ? one : many}` : `an unknown number of ${many}`);

const EXTRACTORS = { "mnist-cnn": "features of mnist-cnn", inception: "features of Inception" };

/* What people call a number of a run's examples: "1,200 images", "1 row of text". */
export const examples = (run, count) => plural(count, run.examples?.one ?? "example", run.examples?.many ?? "examples");
export const manyOf = (run) => run.examples?.many ?? "examples";

export const isAtWork = (run) => run.state === "running" || run.state === "waiting for nodes";

/* What scores were computed from: how many images, and whose features. Records of earlier versions do not tell. */
export function scoredWith(madeWith, count = madeWith?.["num-samples"]) {
  if (!isKnown(count) && !isKnown(madeWith?.extractor)) return "images and extractor unknown";
  if (madeWith && !isKnown(madeWith.extractor)) return isKnown(count) ? plural(count, "sample") : "number of samples unknown"; /* without features */
  return `${isKnown(count) ? plural(count, "image") : "number of images unknown"}, ${isKnown(madeWith?.extractor) ? (EXTRACTORS[madeWith.extractor] ?? `features of ${madeWith.extractor}`) : "extractor unknown"}`;
}

/* The same of the scores of rounds, which are of fewer images than the final ones. */
export const roundsScoredWith = (run) => scoredWith(run["scored-with"], run.best?.["num-samples"]);

export const incomparable = (run) => (run.images ? "Distances from different numbers of images are not comparable: fewer images give a higher one." : "Scores from different numbers of samples are not comparable.");

/* The best round beside the score that is shown: "best 30 in round 10". Final scores are of more images than those of
   rounds, and it is said that they do not compare. */
export function bestInWords(run, now) {
  if (!run.best) return "";
  const [of, its] = [run["scored-with"]?.["num-samples"], run.best["num-samples"]];
  const ofRound = run.quality[run["quality-rounds"].indexOf(run["scores-round"])];
  const isAlike = isKnown(of) && isKnown(its) ? of === its : ofRound === now;
  const soFar = isAtWork(run) ? " so far" : "";
  if (isAlike && !(run.best.value < now)) return run.quality.length < 2 ? "" : soFar ? "the best so far" : "the best of all scored rounds";
  const words = `best${soFar} ${number(run.best.value)} in round ${run.best.round}`;
  if (isAlike) return words;
  return `${words}, from ${isKnown(its) ? plural(its, run.images ? "image" : "sample") : `another number of ${run.images ? "images" : "samples"}`} (not comparable)`;
}

/* Why a run has no scores; empty where they may come. That a metric beside the distance is left out is no reason. */
export function whyNoScores(run) {
  const distances = scoresOf("figure").filter((it) => it["selects-rounds"]).map((it) => it.name);
  const isOfDistance = (words) => words.toLowerCase().split(/[\s,.:;()]+/).some((word) => distances.includes(word));
  const reasons = run.signs.filter((sign) => sign.kind === "not-scored" && isOfDistance(sign.words)).map((sign) => sign.words);
  if (reasons.length) return reasons.join(" ");
  if (isAtWork(run)) return "";
  if (run.state === "failed") return "The run ended before any round was scored.";
  return "Its record does not say why.";
}

/* The scores of a run that are told beside its distance, at a glance. */
export const atAGlance = (run) => scoresOf("figure").filter((it) => it["at-a-glance"] && it.name !== run.distance && Number.isFinite(run.scores[it.name]));

/* What the run's generator makes: its images or texts; null before clients have answered. */
export const madeBy = (run) => run.images ?? run.texts;

/* The labels that examples can be asked for: of classes that clients have examples of. */
export const labelsOf = (run) => (run.examples?.conditional ? run.examples.drawn : []);

/* The rounds that can be generated from, for a choice: the last, the best, and each. */
export const roundsOf = (run) => [["last", `last: round ${run["checkpoint-rounds"].at(-1)}`], run.best && ["best", `best ${figureLabel(run.distance)}: round ${run.best.round}`], ...run["checkpoint-rounds"].toReversed().map((it) => [String(it), `round ${it}`])].filter(Boolean);

/* Whether there are classes to pick from; examples without labels are all of one. */
export const hasClasses = (run) => labelsOf(run).length > 1;

export const className = (run, label) => {
  const name = run.examples?.["class-names"]?.[label];
  return name && name !== String(label) ? name : String(label);
};

/* "client 3", and what people call it. */
export function clientName(run, client) {
  const site = run["client-table"].find((row) => row.client === client)?.site;
  return `client ${client}${site ? ` ${site}` : ""}`;
}

/* What a screen reader is told of a run that went on. */
export function spokenNews(before, now) {
  if (now.state !== before.state) return `Run ${now.id}: ${now.words}`;
  if (now.round <= before.round) return "";
  const latest = now["scores-round"] === now.round ? `, ${figureLabel(now.distance)} ${number(now.quality.at(-1))}` : "";
  const signs = now.signs.length > before.signs.length ? `. ${now.signs[0].words}` : "";
  return `Round ${whole(now.round)} of ${whole(now.rounds)} is done${latest}${signs}`;
}
