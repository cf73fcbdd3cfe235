#include "select.h"

HIVE_KERNEL(hive_select_count, hive::gpu::SelectArgs, 2, hive::gpu::select_count_kernel)
HIVE_KERNEL(hive_select_pick, hive::gpu::SelectArgs, 2, hive::gpu::select_pick_kernel)
HIVE_KERNEL(hive_select_collect, hive::gpu::SelectArgs, 2, hive::gpu::select_collect_kernel)
HIVE_KERNEL(hive_select_done, hive::gpu::SelectArgs, 2, hive::gpu::select_done_kernel)
