#include "images.h"

#if defined(HIVE_CUDA_IMAGES)

// HIVE_CUDA_IMAGES is the folder of the fat binaries, a string literal.
#define HIVE_IMAGE(name)                                   \
  __asm__(".section .rodata\n.balign 64\n"                 \
          ".global hive_cuda_image_" #name "\n"            \
          ".hidden hive_cuda_image_" #name "\n"            \
          "hive_cuda_image_" #name ":\n"                   \
          ".incbin \"" HIVE_CUDA_IMAGES "/" #name ".fatbin\"\n.previous\n"); \
  extern "C" const unsigned char hive_cuda_image_##name[];

HIVE_IMAGE(rows_f32)
HIVE_IMAGE(rows_f16)
HIVE_IMAGE(rows_bf16)
HIVE_IMAGE(rows_i8)
HIVE_IMAGE(select)

namespace hive::cuda {
const void* image(int which) {
  const unsigned char* const all[kImages] = {hive_cuda_image_rows_f32, hive_cuda_image_rows_f16,
                                             hive_cuda_image_rows_bf16, hive_cuda_image_rows_i8,
                                             hive_cuda_image_select};
  return all[which];
}
}  // namespace hive::cuda

#else

namespace hive::cuda {
const void* image(int) {
  // The emulated driver finds kernels by name and looks at no image.
  static const unsigned char none[16] = {};
  return none;
}
}  // namespace hive::cuda

#endif
