#define HIVE_GPU_EMULATE 1
#include "rows_f16.cu"
