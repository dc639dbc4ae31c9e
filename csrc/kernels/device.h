// What GPUs there are. Every function answers, with or without CUDA in the build or a driver.
#pragma once

#include <string>
#include <vector>

namespace crnn {

struct CudaDevice {
  std::string name;
  int major, minor;     // compute capability
  size_t total_memory;  // bytes
  int multiprocessors;
};

struct CudaStatus {
  bool built;           // the library was compiled with CUDA
  int runtime_version;  // e.g. 13000; 0 without CUDA
  int driver_version;   // highest CUDA version the driver supports; 0 without a driver
  std::string problem;  // why there is no usable device; empty when there is one
  std::vector<CudaDevice> devices;
};

CudaStatus cuda_status();

}  // namespace crnn
