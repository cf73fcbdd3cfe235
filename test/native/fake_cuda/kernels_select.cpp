#define HIVE_GPU_EMULATE 1
#include "select.cu"
