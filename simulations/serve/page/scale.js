/* From figures to places on a chart. */

import { tick } from "./words.js";

const STEPS = [[1, 2, 3, 4, 5, 6, 7, 8, 9], [1, 2, 5], [1, 3], [1]];
const FEWEST_TICKS = 3;
const MOST_TICKS = 7;

/* Returns ticks at round figures, about `number` of them, and not fewer than three where there is room. */
export function ticks(low, high, number, isWhole = false) {
  if (!(high > low)) return [low];
  const raw = (high - low) / Math.max(1, number);
  const power = 10 ** Math.floor(Math.log10(raw));
  let step = power * ((isWhole ? [1, 2, 5, 10] : [1, 2, 2.5, 5, 10]).find((it) => it * power >= raw) ?? 10);
  if (isWhole) step = Math.max(1, Math.round(step));
  const found = [];
  for (let at = Math.ceil(low / step - 1e-9) * step; at <= high + step * 1e-9; at += step) found.push(Math.abs(at) < step * 1e-9 ? 0 : at);
  const isTooFew = found.length < FEWEST_TICKS && !(isWhole && step === 1) && number < MOST_TICKS;
  return isTooFew ? ticks(low, high, number + 1, isWhole) : found;
}

/* Returns ticks for a logarithmic scale: from three to seven at round figures. */
export function logTicks(low, high) {
  if (high < 4 * low) return ticks(low, high, 4);
  const [first, last] = [Math.floor(Math.log10(low)), Math.ceil(Math.log10(high))];
  for (const steps of STEPS) {
    const found = [];
    for (let power = first; power <= last; power += 1) {
      for (const it of steps) if (it * 10 ** power >= low * 0.999 && it * 10 ** power <= high * 1.001) found.push(it * 10 ** power);
    }
    if (found.length <= MOST_TICKS) return found.length >= FEWEST_TICKS ? found : ticks(low, high, 4).filter((it) => it > 0);
  }
  const every = Math.ceil((last - first) / MOST_TICKS);
  return Array.from({ length: last - first + 1 }, (_, at) => first + at).filter((it) => it % every === 0).map((it) => 10 ** it).filter((it) => it >= low && it <= high);
}

/* Returns words for ticks, with as many digits as tell them exactly. */
export function tickWords(values) {
  const room = 1e-3 * Math.abs((values[1] ?? 0) - values[0]);
  const digits = [3, 4, 5, 6, 7, 8].find((it) => values.every((value) => Math.abs(Number(value.toPrecision(it)) - value) <= room)) ?? 9;
  return values.map((value) => tick(value, digits));
}

/* Returns a function from values in [low, high] to pixels in [from, to]. */
export function linear(low, high, from, to) {
  const span = high - low || 1;
  return (value) => from + ((value - low) / span) * (to - from);
}

export function logarithmic(low, high, from, to) {
  const inner = linear(Math.log(low), Math.log(high), from, to);
  return (value) => inner(Math.log(value));
}

/* Returns the limits of what is to be seen, with a little room. */
export function limits(values, isLog) {
  let low = Infinity;
  let high = -Infinity;
  for (const value of values) {
    if (!Number.isFinite(value) || (isLog && value <= 0)) continue;
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  if (low > high) return isLog ? [1, 10] : [0, 1];
  if (isLog) return [low / 1.08, high * 1.08];
  const room = (high - low || Math.abs(high) || 1) * 0.06;
  return [low >= 0 && low - room < 0 ? 0 : low - room, high + room];
}

/* Returns the entry of a sorted list that is nearest. */
export function nearest(sorted, value) {
  let best = sorted[0];
  for (const it of sorted) if (Math.abs(it - value) <= Math.abs(best - value)) best = it;
  return best;
}
