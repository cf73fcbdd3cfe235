/**
 * The behaviours that every adapter shares, in one table: what the frameworks' contracts and their
 * own suites ask for, and what other stores got wrong.
 */
import type { Case } from "./cases/case.js";
import { contentCases, isolationCases } from "./cases/content.js";
import { refusalCases, resultCases } from "./cases/results.js";
import { standardCases } from "./cases/standard.js";

export const cases: readonly Case[] = [
  ...standardCases,
  ...resultCases,
  ...refusalCases,
  ...contentCases,
  ...isolationCases,
];
