// The emulated CUDA runtime: one device, one stream, launches that run at once.
#include <cuda_runtime.h>

#include <map>

namespace {

cudaError_t last_error = cudaSuccess;
std::map<const void*, size_t> allowed_shared;
constexpr size_t kSharedWithoutAsking = 48 << 10;

unsigned cluster_of(const cudaLaunchConfig_t& config) {
  return config.numAttrs == 0 ? 1 : config.attrs[0].val.clusterDim.x;
}

}  // namespace

cudaError_t emulated_error(cudaError_t error) { return last_error = error; }

cudaError_t cudaGetLastError() {
  const cudaError_t error = last_error;
  last_error = cudaSuccess;
  return error;
}

const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "no error";
    case cudaErrorMemoryAllocation:
      return "out of memory";
    case cudaErrorInvalidConfiguration:
      return "invalid configuration argument";
    default:
      return "invalid argument";
  }
}

cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  const emulator::Device& d = emulator::device();
  switch (attribute) {
    case cudaDevAttrMultiProcessorCount:
      *value = d.multiprocessors;
      break;
    case cudaDevAttrComputeCapabilityMajor:
      *value = d.major;
      break;
    case cudaDevAttrComputeCapabilityMinor:
      *value = d.minor;
      break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = static_cast<int>(d.shared_per_block);
      break;
  }
  return cudaSuccess;
}

cudaError_t emulated_allow_shared(const void* kernel, size_t bytes) {
  if (bytes > emulator::device().shared_per_block) return emulated_error(cudaErrorInvalidValue);
  allowed_shared[kernel] = bytes;
  return cudaSuccess;
}

cudaError_t emulated_check(const cudaLaunchConfig_t& config, const void* kernel) {
  const dim3 g = config.gridDim, b = config.blockDim;
  const uint64_t threads = uint64_t(b.x) * b.y * b.z;
  const unsigned cluster = cluster_of(config);
  const auto allowed = allowed_shared.find(kernel);
  const size_t shared = allowed == allowed_shared.end() ? kSharedWithoutAsking : allowed->second;
  if (g.x == 0 || g.y == 0 || g.z == 0 || g.x > 0x7fffffffU || g.y > 65535 || g.z > 65535) {
    return cudaErrorInvalidConfiguration;
  }
  if (threads == 0 || threads > 1024 || b.z > 64) return cudaErrorInvalidConfiguration;
  if (cluster == 0 || cluster > 8 || g.x % cluster != 0) return cudaErrorInvalidConfiguration;
  if (cluster > 1 && emulator::device().major < 9) return cudaErrorInvalidConfiguration;
  if (config.dynamicSmemBytes > shared) return cudaErrorInvalidValue;
  return cudaSuccess;
}

emulator::LaunchConfig emulated_config(const cudaLaunchConfig_t& config) {
  emulator::LaunchConfig result;
  result.grid = {config.gridDim.x, config.gridDim.y, config.gridDim.z};
  result.block = {config.blockDim.x, config.blockDim.y, config.blockDim.z};
  result.cluster = cluster_of(config);
  result.shared_bytes = config.dynamicSmemBytes;
  return result;
}
