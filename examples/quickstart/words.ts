/** Words that questions are made of; they say nothing about what is asked. */
const STOP_WORDS = new Set(
  (
    "a about all also am an and any are as at be been but by can could did do does for from get " +
    "had has have how i if in into is it its just like may me my need no not of on or our out " +
    "please should so some than that the their them then there these they this those to too " +
    "us use used using want was we were what when where which while who why will with would you " +
    "your s t re ve ll don e g"
  ).split(" "),
);

/** Written in camel case, and yet one word: a text on TypeScript is not about scripts. */
const WHOLE = new Set(["typescript", "javascript", "github", "gitlab"]);

/** Short forms that code fences and file names use for a word that people write out. */
const LONG_FORMS = new Map([
  ["ts", "typescript"],
  ["js", "javascript"],
  ["cjs", "commonjs"],
]);

type Endings = readonly (readonly [ending: string, replacement: string, minimum: number])[];

/** One ending of each group is removed; `minimum` is how many letters must stay. */
const INFLECTIONS: Endings = [
  ["ating", "", 3],
  ["ated", "", 3],
  ["ing", "", 3],
  ["ied", "y", 3],
  ["ed", "", 3],
  ["ly", "", 4],
];
const DERIVATIONS: Endings = [
  ["ization", "ize", 3],
  ["ation", "", 3],
  ["ator", "", 3],
  ["ate", "", 3],
  ["ion", "", 3],
  ["er", "", 4],
  ["e", "", 3],
];

function singular(word: string): string {
  if (word.endsWith("ies") && word.length > 4) return `${word.slice(0, -3)}y`;
  if (/(?:s|x|z|ch|sh)es$/.test(word)) return word.slice(0, -2);
  return /[^su]s$/.test(word) ? word.slice(0, -1) : word;
}

function strip(word: string, endings: Endings): string {
  for (const [ending, replacement, minimum] of endings) {
    if (!word.endsWith(ending)) continue;
    const rest = word.slice(0, -ending.length) + replacement;
    // A stem has a vowel: "string" is not "str".
    if (rest.length < minimum || !/[aeiouy]/.test(rest)) continue;
    return /([^aeiouls])\1$/.test(rest) ? rest.slice(0, -1) : rest;
  }
  return word;
}

/** A light English stemmer: validate, validates, validation and validator become "valid". */
export function stem(word: string): string {
  if (word.length <= 3 || /[^a-z]/.test(word)) return word;
  return strip(strip(singular(word), INFLECTIONS), DERIVATIONS);
}

const CAMEL = /(?<=[\p{Ll}\p{N}])(?=\p{Lu})|(?<=\p{Lu})(?=\p{Lu}\p{Ll})/u;

/**
 * The stems of a text, in order. An identifier gives its parts and itself, so that `safeParse` is
 * found by "safe parse" as well as by "safeParse".
 */
export function stems(text: string): string[] {
  const out: string[] = [];
  for (const [token] of text.normalize("NFKC").matchAll(/[\p{L}\p{N}]+(?:\+\+|#)?/gu)) {
    const parts = WHOLE.has(token.toLowerCase()) ? [token] : token.split(CAMEL);
    if (parts.length > 1) out.push(token.toLowerCase());
    for (const part of parts) {
      const word = part.toLowerCase();
      if (!STOP_WORDS.has(word)) out.push(stem(LONG_FORMS.get(word) ?? word));
    }
  }
  return out;
}
