// The symbols of kernels/cuda/ in a build without CUDA.
#include "common/error.h"
#include "kernels/ctc_cuda.h"
#include "kernels/device.h"
#include "kernels/greedy_cuda.h"
#include "kernels/lstm_cuda.h"

namespace crnn {
// crnn_ext refuses CUDA tensors before it comes here.
[[noreturn]] static void no_cuda() { throw CudaError("crnn_ext was built without CUDA"); }

CudaStatus cuda_status() { return {false, 0, 0, "built without CUDA", {}}; }

size_t ctc_cuda_scratch_bytes(const CtcCudaBatch&, bool) { no_cuda(); }
void ctc_cuda_forward(const CtcCudaBatch&, const CtcCudaSaved&, void*, void*, CUstream_st*) {
  no_cuda();
}
void ctc_cuda_backward(const CtcCudaBatch&, const CtcCudaSaved&, const void*, int64_t, void*,
                       int64_t, int64_t, CUstream_st*) {
  no_cuda();
}
void greedy_cuda(const GreedyCudaBatch&, void*, void*, CUstream_st*) { no_cuda(); }
LstmKernel lstm_cuda_kernel(const LstmDims&, LstmPrecision, LstmKernel) { no_cuda(); }
void lstm_cuda_forward(const LstmCudaForward&, CUstream_st*) { no_cuda(); }
void lstm_cuda_backward(const LstmCudaBackward&, CUstream_st*) { no_cuda(); }

}  // namespace crnn
