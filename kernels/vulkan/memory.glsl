// Device memory by address. There are no descriptors: a kernel gets the addresses of its arrays in
// push constants, so segments of any number are read by one dispatch and no array is limited by
// maxStorageBufferRange. Addresses are two 32-bit words; no 64-bit integers are needed.
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#extension GL_KHR_shader_subgroup_shuffle : require

layout(buffer_reference, std430, buffer_reference_align = 16) readonly buffer Vec4s { vec4 v[]; };
layout(buffer_reference, std430, buffer_reference_align = 8) readonly buffer Pairs { uvec2 v[]; };
layout(buffer_reference, std430, buffer_reference_align = 4) readonly buffer Words { uint v[]; };
layout(buffer_reference, std430, buffer_reference_align = 4) readonly buffer Floats { float v[]; };
layout(buffer_reference, std430, buffer_reference_align = 4) writeonly buffer OutWords { uint v[]; };
layout(buffer_reference, std430, buffer_reference_align = 8) writeonly buffer OutPairs { uvec2 v[]; };
layout(buffer_reference, std430, buffer_reference_align = 4) buffer Counter { uint value; };

// address + row * bytes, 64 bits wide.
uvec2 row_address(uvec2 address, uint row, uint bytes) {
  uint high, low, carry;
  umulExtended(row, bytes, high, low);
  low = uaddCarry(address.x, low, carry);
  return uvec2(low, address.y + high + carry);
}
