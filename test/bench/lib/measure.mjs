// Clocks, quantiles and the event-loop gap.
import { PerformanceObserver } from "node:perf_hooks";

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

/**
 * Longest time (ms) the event loop did not turn while the promise was pending: as it was, and with
 * the pauses of the garbage collector taken out (they depend on everything else in the process).
 */
export async function longestGaps(start) {
  const turns = [now()];
  const pauses = [];
  const observer = new PerformanceObserver((list) => pauses.push(...list.getEntries()));
  observer.observe({ entryTypes: ["gc"] });
  const state = { done: false };
  const work = start().finally(() => {
    state.done = true;
  });
  while (!state.done) {
    await new Promise((resolve) => setImmediate(resolve));
    turns.push(now());
  }
  await work;
  turns.push(now());
  await sleep(10); // entries of the observer arrive late
  observer.disconnect();
  let all = 0;
  let own = 0;
  for (let i = 1; i < turns.length; i++) {
    const gap = turns[i] - turns[i - 1];
    if (gap < own) continue;
    const collected = pauses
      .map(
        (p) => Math.min(p.startTime + p.duration, turns[i]) - Math.max(p.startTime, turns[i - 1]),
      )
      .filter((ms) => ms > 0)
      .reduce((sum, ms) => sum + ms, 0);
    all = Math.max(all, gap);
    own = Math.max(own, gap - collected);
  }
  return { all, own };
}

export const longestGap = async (start) => (await longestGaps(start)).all;
