// The symbols of kernels/cuda/ in a build without CUDA.
#include "kernels/device.h"

namespace crnn {

CudaStatus cuda_status() { return {false, 0, 0, "built without CUDA", {}}; }

}  // namespace crnn
