// Launching kernels: one call, one error check, one way to dynamic shared memory.
// tests/emulator compiles this file, and everything that includes it, for the CPU.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <string>
#include <utility>

#include "common/error.h"

namespace crnn {

struct LaunchShape {
  dim3 grid, block;
  size_t shared_bytes = 0;        // dynamic shared memory of a block
  unsigned cluster = 1;           // blocks of a cluster, along x; more than 1 needs sm_90
  CUstream_st* stream = nullptr;  // of the current device
};

// Throws CudaError, and leaves no error behind for the next call.
inline void check_cuda(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  cudaGetLastError();
  throw CudaError(std::string(what) + ": " + cudaGetErrorString(error));
}

// Starts `kernel` on the stream; `name` is for the message of a failed launch. Does not wait.
template <class... Parameters, class... Arguments>
void launch(const char* name, void (*kernel)(Parameters...), const LaunchShape& shape,
            Arguments&&... arguments) {
  constexpr size_t without_asking = 48 << 10;  // more shared memory is an opt-in of the kernel
  if (shape.shared_bytes > without_asking) {
    check_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                    static_cast<int>(shape.shared_bytes)),
               name);
  }
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeClusterDimension;
  attribute.val.clusterDim.x = shape.cluster;
  attribute.val.clusterDim.y = 1;
  attribute.val.clusterDim.z = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = shape.grid;
  config.blockDim = shape.block;
  config.dynamicSmemBytes = shape.shared_bytes;
  config.stream = shape.stream;
  config.attrs = &attribute;
  config.numAttrs = shape.cluster > 1 ? 1 : 0;
  check_cuda(cudaLaunchKernelEx(&config, kernel, std::forward<Arguments>(arguments)...), name);
}

// A property of the current device.
inline int device_attribute(cudaDeviceAttr attribute) {
  int device = 0, value = 0;
  check_cuda(cudaGetDevice(&device), "cudaGetDevice");
  check_cuda(cudaDeviceGetAttribute(&value, attribute, device), "cudaDeviceGetAttribute");
  return value;
}

// The compute capability, e.g. 90, of the code of a kernel that the current device would run.
template <class... Parameters>
int compiled_for(void (*kernel)(Parameters...)) {
  cudaFuncAttributes attributes{};
  check_cuda(cudaFuncGetAttributes(&attributes, kernel), "cudaFuncGetAttributes");
  return attributes.ptxVersion;
}

// The block's dynamic shared memory, on a boundary of 128 bytes.
template <class T>
__device__ __forceinline__ T* shared_memory() {
#ifdef __CUDACC__
  extern __shared__ __align__(128) unsigned char bytes[];
#else  // in the emulator
  unsigned char* bytes = emulator::shared_memory();
#endif
  return reinterpret_cast<T*>(bytes);
}

}  // namespace crnn
