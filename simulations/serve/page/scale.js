/* From figures to places on a chart. */

const DECADE = [1, 2, 5];

/* Returns ticks at round figures, about as many as wanted. */
export function ticks(low, high, wanted, isWhole = false) {
  if (!(high > low)) return [low];
  const raw = (high - low) / Math.max(1, wanted);
  const power = 10 ** Math.floor(Math.log10(raw));
  let step = power * ((isWhole ? [1, 2, 5, 10] : [1, 2, 2.5, 5, 10]).find((it) => it * power >= raw) ?? 10);
  if (isWhole) step = Math.max(1, Math.round(step));
  const found = [];
  for (let at = Math.ceil(low / step - 1e-9) * step; at <= high + step * 1e-9; at += step) found.push(Math.abs(at) < step * 1e-9 ? 0 : at);
  return found;
}

export function logTicks(low, high) {
  const found = [];
  for (let power = 10 ** Math.floor(Math.log10(low)); power <= high; power *= 10) {
    for (const it of DECADE) if (it * power >= low * 0.999 && it * power <= high * 1.001) found.push(it * power);
  }
  if (found.length > 7) return found.filter((it) => Math.abs(Math.log10(it) - Math.round(Math.log10(it))) < 1e-6);
  return found.length > 1 ? found : ticks(low, high, 3).filter((it) => it > 0);
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
