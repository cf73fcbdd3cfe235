#define HIVE_T I8
#define HIVE_NAME i8
#include "instances.h"
