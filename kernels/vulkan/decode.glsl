// Four consecutive elements of a stored row as f32 (native/include/hive_dtypes.def). Integer
// arithmetic where the built-in conversions may flush subnormal numbers.
const uint kF32 = 0u;
const uint kF16 = 1u;
const uint kBf16 = 2u;
const uint kI8 = 3u;

float half_to_float(uint bits) {
  const uint magnitude = bits & 0x7fffu;
  const float normal = uintBitsToFloat((magnitude << 13) + 0x38000000u);
  const float subnormal = float(magnitude) * 5.9604644775390625e-8;  // 2^-24
  const uint value = floatBitsToUint(magnitude < 0x400u ? subnormal : normal);
  return uintBitsToFloat(value | (bits & 0x8000u) << 16);
}

// block: index of the four elements in the row. scale is used by i8 only.
vec4 load4(uvec2 row, uint block, float scale) {
  if (DTYPE == kF32) return Vec4s(row).v[block];
  if (DTYPE == kI8) {
    const int w = int(Words(row).v[block]);
    const vec4 e = vec4(bitfieldExtract(w, 0, 8), bitfieldExtract(w, 8, 8),
                        bitfieldExtract(w, 16, 8), bitfieldExtract(w, 24, 8));
    // Component by component: a product of a vector and a number may be fused in spite of precise.
    precise const vec4 x = e * vec4(scale);
    return x;
  }
  const uvec2 w = Pairs(row).v[block];
  if (DTYPE == kBf16) {
    return vec4(uintBitsToFloat(w.x << 16), uintBitsToFloat(w.x & 0xffff0000u),
                uintBitsToFloat(w.y << 16), uintBitsToFloat(w.y & 0xffff0000u));
  }
  return vec4(half_to_float(w.x & 0xffffu), half_to_float(w.x >> 16),
              half_to_float(w.y & 0xffffu), half_to_float(w.y >> 16));
}
