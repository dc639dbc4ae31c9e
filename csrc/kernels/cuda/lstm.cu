// Which LSTM kernel runs. Host code only.
#include "common/error.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/lstm_launch.cuh"

namespace crnn {
namespace {

constexpr int64_t kClusterH = 256, kClusterSamples = 16;  // as in lstm_cluster.cuh

bool suits(const LstmDims& dims, LstmPrecision precision, LstmKernel kernel) {
  const bool half = precision == LstmPrecision::float16 || precision == LstmPrecision::bfloat16;
  switch (kernel) {
    case LstmKernel::cluster4:  // w_hh of tf32 needs the registers of 8 blocks
      return dims.H == kClusterH && half;
    case LstmKernel::cluster8:
      return dims.H == kClusterH && (half || precision == LstmPrecision::tf32);
    default:
      return true;
  }
}

}  // namespace

LstmKernel lstm_cuda_kernel(const LstmDims& dims, LstmPrecision precision, LstmKernel wanted) {
  if (wanted != LstmKernel::automatic) {
    if (!suits(dims, precision, wanted)) fail("LSTM", "kernel", "suit H and the dtype", dims.H);
    if (wanted != LstmKernel::plain && !lstm_cluster_kernels_run()) {
      fail("LSTM", "kernel", "be plain before compute capability 9.0", "a cluster kernel");
    }
    return wanted;
  }
  if (!suits(dims, precision, LstmKernel::cluster8) || !lstm_cluster_kernels_run()) {
    return LstmKernel::plain;
  }
  // Eight blocks take a step faster than four, as long as all clusters run at once.
  const int64_t blocks = dims.D * ((dims.N + kClusterSamples - 1) / kClusterSamples) * 8;
  const bool fits = blocks <= device_attribute(cudaDevAttrMultiProcessorCount);
  return fits || !suits(dims, precision, LstmKernel::cluster4) ? LstmKernel::cluster8
                                                               : LstmKernel::cluster4;
}

void lstm_cuda_forward(const LstmCudaForward& args, CUstream_st* stream) {
  LstmCudaForward chosen = args;
  chosen.kernel = lstm_cuda_kernel(args.dims, args.precision, args.kernel);
  (chosen.kernel == LstmKernel::plain ? lstm_plain_forward : lstm_cluster_forward)(chosen, stream);
}

void lstm_cuda_backward(const LstmCudaBackward& args, CUstream_st* stream) {
  LstmCudaBackward chosen = args;
  chosen.kernel = lstm_cuda_kernel(args.dims, args.precision, args.kernel);
  (chosen.kernel == LstmKernel::plain ? lstm_plain_backward : lstm_cluster_backward)(chosen,
                                                                                     stream);
}

}  // namespace crnn
