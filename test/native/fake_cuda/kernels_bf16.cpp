#define HIVE_GPU_EMULATE 1
#include "rows_bf16.cu"
