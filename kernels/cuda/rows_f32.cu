#define HIVE_T F32
#define HIVE_NAME f32
#include "instances.h"
