#define HIVE_T F16
#define HIVE_NAME f16
#include "instances.h"
