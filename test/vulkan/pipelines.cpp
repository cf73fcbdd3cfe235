// Compiles every pipeline of the Vulkan backend for the first device that is found, and runs none:
// for drivers' compilers without their cards. test/vulkan/radv.mjs runs it.
//   vulkan_pipelines [<dim> ...]     prints one line per pipeline, exit status 1 on the first failure
#include <cstdio>
#include <cstdlib>

#include "pipelines.h"

using namespace hive::vulkan;

int main(int argc, char** argv) {
  try {
    Settings settings = Settings::parse("devices=any;cache=off");
    settings.compile_only = true;
    const std::shared_ptr<Context> context = Context::get(0, settings);
    const PhysicalDevice& device = context->physical();
    std::printf("%s, subgroups of %u\n", device.info.name, device.subgroup_size);
    std::printf("PIPELINE select\n");
    std::fflush(stdout);
    (void)context->pipelines().select();
    for (int i = 1; i < argc; ++i) {
      const auto dim = static_cast<uint32_t>(std::atoi(argv[i]));
      for (uint32_t metric = 0; metric < HIVE_METRIC_COUNT; ++metric) {
        for (uint32_t dtype = 0; dtype < HIVE_DTYPE_COUNT; ++dtype) {
          for (const auto& [batch, listed] : {std::pair(false, false), {false, true}, {true, false}}) {
            // stderr holds what the driver says of each, so the names go there as well.
            std::fprintf(stderr, "PIPELINE scan metric %u dtype %u dim %u%s%s\n", metric, dtype, dim,
                         batch ? " batch" : "", listed ? " listed" : "");
            (void)context->pipelines().scan({metric, dtype, dim, batch, listed});
          }
        }
      }
    }
    std::fflush(stderr);
    // A pretended device may not take itself down properly.
    std::_Exit(0);
  } catch (const Error& e) {
    std::fprintf(stderr, "vulkan_pipelines: %s\n", e.what());
    return 1;
  }
}
