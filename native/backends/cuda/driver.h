// The CUDA driver API, reached through dlopen: neither toolkit nor runtime nor headers of NVIDIA
// are needed to build or run this code. Declared here is what is used of the documented C API of
// libcuda (CUDA Driver API reference); handles are opaque pointers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "support.h"

namespace hive::cuda {

using Result = int;
using DeviceNumber = int;
using Pointer = uint64_t;  // device address
using Context = struct ContextHandle*;
using Module = struct ModuleHandle*;
using Function = struct FunctionHandle*;
using Stream = struct StreamHandle*;
using Event = struct EventHandle*;
using Allocation = uint64_t;  // physical memory

inline constexpr Result kSuccess = 0;
inline constexpr Result kOutOfMemory = 2;
inline constexpr Result kNotReady = 600;

enum Attribute : int {
  kAttributeSharedOptIn = 97,
  kAttributeMultiprocessors = 16,
  kAttributeIntegrated = 18,
  kAttributeL2Bytes = 38,
  kAttributeMajor = 75,
  kAttributeMinor = 76,
  kAttributeVirtualMemory = 102,
};

struct Location {
  int type;  // 1: device
  int id;
};
struct AllocationProperties {
  int type;  // 1: pinned
  int handle_types;
  Location location;
  void* windows;
  unsigned char flags[8];
};
struct AccessDescription {
  Location location;
  int flags;  // 3: read and write
};

// One function per line: name in the library, member, parameters.
#define HIVE_CUDA_FUNCTIONS(F)                                                                  \
  F(cuInit, init, (unsigned))                                                                   \
  F(cuDriverGetVersion, driver_version, (int*))                                                 \
  F(cuDeviceGetCount, device_count, (int*))                                                     \
  F(cuDeviceGet, device_get, (DeviceNumber*, int))                                              \
  F(cuDeviceGetName, device_name, (char*, int, DeviceNumber))                                   \
  F(cuDeviceGetAttribute, device_attribute, (int*, int, DeviceNumber))                          \
  F(cuDeviceTotalMem_v2, device_memory, (size_t*, DeviceNumber))                                \
  F(cuDeviceGetPCIBusId, device_bus_id, (char*, int, DeviceNumber))                             \
  F(cuDevicePrimaryCtxRetain, context_retain, (Context*, DeviceNumber))                         \
  F(cuDevicePrimaryCtxRelease_v2, context_release, (DeviceNumber))                              \
  F(cuCtxSetCurrent, context_set, (Context))                                                    \
  F(cuModuleLoadData, module_load, (Module*, const void*))                                      \
  F(cuModuleUnload, module_unload, (Module))                                                    \
  F(cuModuleGetFunction, module_function, (Function*, Module, const char*))                     \
  F(cuFuncSetAttribute, function_set, (Function, int, int))                                     \
  F(cuOccupancyMaxActiveBlocksPerMultiprocessor, occupancy, (int*, Function, int, size_t))      \
  F(cuStreamCreateWithPriority, stream_create, (Stream*, unsigned, int))                        \
  F(cuStreamDestroy_v2, stream_destroy, (Stream))                                               \
  F(cuStreamSynchronize, stream_synchronize, (Stream))                                          \
  F(cuStreamQuery, stream_query, (Stream))                                                      \
  F(cuEventCreate, event_create, (Event*, unsigned))                                            \
  F(cuEventDestroy_v2, event_destroy, (Event))                                                  \
  F(cuEventRecord, event_record, (Event, Stream))                                               \
  F(cuEventSynchronize, event_synchronize, (Event))                                             \
  F(cuEventElapsedTime, event_elapsed, (float*, Event, Event))                                  \
  F(cuLaunchKernel, launch,                                                                     \
    (Function, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, Stream,    \
     void**, void**))                                                                           \
  F(cuMemAlloc_v2, memory_allocate, (Pointer*, size_t))                                         \
  F(cuMemFree_v2, memory_free, (Pointer))                                                       \
  F(cuMemHostAlloc, host_allocate, (void**, size_t, unsigned))                                  \
  F(cuMemFreeHost, host_free, (void*))                                                          \
  F(cuMemHostGetDevicePointer_v2, host_pointer, (Pointer*, void*, unsigned))                    \
  F(cuMemcpyHtoDAsync_v2, copy_to_device, (Pointer, const void*, size_t, Stream))               \
  F(cuMemcpyDtoDAsync_v2, copy_on_device, (Pointer, Pointer, size_t, Stream))                   \
  F(cuMemsetD8Async, memory_set, (Pointer, unsigned char, size_t, Stream))                      \
  F(cuMemGetInfo_v2, memory_info, (size_t*, size_t*))                                           \
  F(cuMemAddressReserve, address_reserve, (Pointer*, size_t, size_t, Pointer, uint64_t))        \
  F(cuMemAddressFree, address_free, (Pointer, size_t))                                          \
  F(cuMemCreate, allocation_create,                                                             \
    (Allocation*, size_t, const AllocationProperties*, uint64_t))                               \
  F(cuMemRelease, allocation_release, (Allocation))                                             \
  F(cuMemMap, map, (Pointer, size_t, size_t, Allocation, uint64_t))                             \
  F(cuMemUnmap, unmap, (Pointer, size_t))                                                       \
  F(cuMemSetAccess, access_set, (Pointer, size_t, const AccessDescription*, size_t))            \
  F(cuMemGetAllocationGranularity, granularity, (size_t*, const AllocationProperties*, int))    \
  F(cuGetErrorName, error_name, (Result, const char**))                                         \
  F(cuGetErrorString, error_string, (Result, const char**))

class Driver {
 public:
  // The driver at `path` ("" = the system's libcuda), loaded and initialised at most once per
  // process. Never null: ask status().
  static const Driver& load(const std::string& path);

  // OK, DRIVER_MISSING, DRIVER_TOO_OLD or NO_DEVICE, and why.
  hive_status status() const { return status_; }
  const std::string& reason() const { return reason_; }
  int version() const { return version_; }    // 13000 = CUDA 13.0
  std::string version_text() const;           // "CUDA 13.0"
  const std::vector<DeviceNumber>& devices() const { return devices_; }
  int attribute(DeviceNumber device, Attribute which) const;

  // Throws the Fault for a result that is not a success.
  void check(Result result, const char* what) const;
  // A context answered with an error that never goes away: so it stays until the process ends.
  bool poisoned(std::string* reason) const;
  std::string describe(Result result, const char* what) const;
  static hive_status status_of(Result result);

#define HIVE_CUDA_MEMBER(symbol, member, parameters) Result(*member) parameters = nullptr;
  HIVE_CUDA_FUNCTIONS(HIVE_CUDA_MEMBER)
#undef HIVE_CUDA_MEMBER

 private:
  explicit Driver(const std::string& path);
  void start();

  hive_status status_ = HIVE_DRIVER_MISSING;
  std::string reason_;
  int version_ = 0;
  mutable std::mutex poison_mutex_;
  mutable bool is_poisoned_ = false;
  mutable std::string poison_reason_;
  std::vector<DeviceNumber> devices_;
};

}  // namespace hive::cuda
