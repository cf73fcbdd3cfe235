#define HIVE_T BF16
#define HIVE_NAME bf16
#include "instances.h"
