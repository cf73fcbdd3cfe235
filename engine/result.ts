/**
 * The one place that turns a metric's native value into what users see.
 * Score: higher is closer, for every metric. Distance: lower is closer.
 */
import type { NativeMetric } from "./native-types.js";

/** How two vectors are compared. */
export type Metric = NativeMetric;

/** All metrics. */
export const metrics = Object.freeze(["cosine", "dot", "l2", "l1", "linf"] as const);

/**
 * cosine: the cosine, -1 to 1 (rounding may pass the ends by a few units, so it is held there);
 * dot: the product; l2, l1, linf: 1 / (1 + distance), 0 to 1.
 */
export function scoreOf(metric: Metric, value: number): number {
  switch (metric) {
    case "cosine":
      return value > 1 ? 1 : value < -1 ? -1 : value;
    case "dot":
      return value;
    case "l2":
      return 1 / (1 + Math.sqrt(value));
    default:
      return 1 / (1 + value);
  }
}

/** cosine: 1 - cosine; dot: minus the product; l2: the root of the native square; l1, linf. */
export function distanceOf(metric: Metric, value: number): number {
  switch (metric) {
    case "cosine":
      return 1 - (value > 1 ? 1 : value < -1 ? -1 : value);
    case "dot":
      return value === 0 ? 0 : -value;
    case "l2":
      return Math.sqrt(value);
    default:
      return value;
  }
}
