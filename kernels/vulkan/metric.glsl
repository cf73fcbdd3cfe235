// The value of a (query, row) pair by the definition of native/include/hive_backend.h: how an
// element enters its lane, how lanes join, and the key that orders values. `precise` keeps a
// compiler from fusing, splitting or reordering what decides the bits.
const uint kCosine = 0u;
const uint kDot = 1u;
const uint kL2 = 2u;
const uint kL1 = 3u;
const uint kLinf = 4u;

vec4 accumulate(vec4 lanes, vec4 x, vec4 y) {
  precise vec4 next;
  if (METRIC == kCosine || METRIC == kDot) {
    next = fma(x, y, lanes);
    return next;
  }
  precise const vec4 d = x - y;
  if (METRIC == kL2) next = fma(d, d, lanes);
  else if (METRIC == kL1) next = lanes + abs(d);
  else next = max(lanes, abs(d));
  return next;
}

vec4 join(vec4 a, vec4 b) {
  precise vec4 sum = a + b;
  return METRIC == kLinf ? max(a, b) : sum;
}

// Lanes j, j+1, j+2, j+3 of the last two levels of the tree.
float join_last(vec4 lanes) {
  if (METRIC == kLinf) return max(max(lanes.x, lanes.z), max(lanes.y, lanes.w));
  precise const float even = lanes.x + lanes.z;
  precise const float odd = lanes.y + lanes.w;
  precise const float sum = even + odd;
  return sum;
}

// Unsigned keys in the order of closeness: greater is closer. 0 stands for "no row".
uint key_of(float value) {
  uint bits = floatBitsToUint(value);
  if (bits == 0x80000000u) bits = 0u;
  const uint ascending = bits ^ ((bits >> 31) != 0u ? 0xffffffffu : 0x80000000u);
  return METRIC == kCosine || METRIC == kDot ? ascending : ~ascending;
}
