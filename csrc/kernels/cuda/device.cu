// Device query by the CUDA runtime. Host code only.
#include <cuda_runtime.h>

#include "kernels/device.h"

namespace crnn {

CudaStatus cuda_status() {
  CudaStatus status{true, CUDART_VERSION, 0, "", {}};
  cudaDriverGetVersion(&status.driver_version);
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess) {
    status.problem = cudaGetErrorString(error);
    cudaGetLastError();  // the error is reported here; later calls start clean
    return status;
  }
  if (count == 0) status.problem = "no CUDA device found";
  for (int i = 0; i < count; ++i) {
    cudaDeviceProp p;
    if (cudaGetDeviceProperties(&p, i) != cudaSuccess) continue;
    status.devices.push_back({p.name, p.major, p.minor, p.totalGlobalMem, p.multiProcessorCount});
  }
  return status;
}

}  // namespace crnn
