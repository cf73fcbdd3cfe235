#define HIVE_GPU_EMULATE 1
#include "rows_i8.cu"
