// Clocks, quantiles and the event-loop gap.
export const now = () => performance.now();
export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
export const quantile = (values, p) => {
  const sorted = Float64Array.from(values).toSorted();
  return sorted.length ? sorted[Math.min(sorted.length - 1, Math.floor(p * sorted.length))] : NaN;
};
export const round = (x) => (x === undefined || Number.isNaN(x) ? null : Number(x.toPrecision(4)));

/** Latencies in ms of calls awaited one after another, for at most maxMs. */
export async function latencies(call, { count, maxMs, warmup = 5, pauseMs = 0 }) {
  for (let i = 0; i < warmup; i++) await call(i);
  const out = [];
  const start = now();
  for (let i = 0; i < count && now() - start < maxMs; i++) {
    if (pauseMs > 0) await sleep(pauseMs);
    const t = now();
    await call(i);
    out.push(now() - t);
  }
  return out;
}

/** Longest time (ms) the event loop did not turn while the promise was pending. */
export async function longestGap(start) {
  let last = now();
  let longest = 0;
  const state = { done: false };
  const work = start().finally(() => {
    state.done = true;
  });
  while (!state.done) {
    const t = now();
    longest = Math.max(longest, t - last);
    last = t;
    await new Promise((resolve) => setImmediate(resolve));
  }
  longest = Math.max(longest, now() - last);
  await work;
  return longest;
}
