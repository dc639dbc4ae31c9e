// The LSTM recurrence on CUDA: addresses, then numbers, then the stream (crnn_ext/_lstm_cuda.py).
#include <pybind11/stl.h>

#include <array>

#include "bindings/bindings.h"
#include "kernels/lstm_cuda.h"

namespace py = pybind11;

namespace crnn {
namespace {

// T, N, I, H, D, LstmPrecision, LstmKernel, training
using Numbers = std::array<int64_t, 8>;

void* at(uintptr_t address) { return reinterpret_cast<void*>(address); }
CUstream_st* stream_at(uintptr_t p) { return reinterpret_cast<CUstream_st*>(p); }
const int64_t* lengths_at(uintptr_t p) { return reinterpret_cast<const int64_t*>(p); }

LstmDims dims_of(const Numbers& k) { return {k[0], k[1], k[2], k[3], k[4]}; }
LstmPrecision precision_of(const Numbers& k) { return static_cast<LstmPrecision>(k[5]); }
LstmKernel kernel_of(const Numbers& k) { return static_cast<LstmKernel>(k[6]); }

// lengths, w_hh, b_ih, b_hh (of both directions each), h0, c0; y, h_n, c_n, cells; gates
void forward(const std::array<uintptr_t, 14>& p, const Numbers& k, uintptr_t stream) {
  LstmCudaForward args{};
  args.dims = dims_of(k);
  args.precision = precision_of(k);
  args.kernel = kernel_of(k);
  args.training = k[7] != 0;
  args.lengths = lengths_at(p[0]);
  for (size_t d = 0; d < 2; ++d) {
    args.w_hh[d] = at(p[1 + d]);
    args.b_ih[d] = at(p[3 + d]);
    args.b_hh[d] = at(p[5 + d]);
  }
  args.h0 = at(p[7]);
  args.c0 = at(p[8]);
  args.y = at(p[9]);
  args.h_n = at(p[10]);
  args.c_n = at(p[11]);
  args.cells = at(p[12]);
  args.gates = at(p[13]);
  const py::gil_scoped_release release;
  lstm_cuda_forward(args, stream_at(stream));
}

// lengths, w_hh (of both directions), c0, gates, cells, dy, dh_n, dc_n; dgates, dh0, dc0; scratch
void backward(const std::array<uintptr_t, 13>& p, const Numbers& k, uintptr_t stream) {
  LstmCudaBackward args{};
  args.dims = dims_of(k);
  args.precision = precision_of(k);
  args.kernel = kernel_of(k);
  args.lengths = lengths_at(p[0]);
  args.w_hh[0] = at(p[1]);
  args.w_hh[1] = at(p[2]);
  args.c0 = at(p[3]);
  args.gates = at(p[4]);
  args.cells = at(p[5]);
  args.dy = at(p[6]);
  args.dh_n = at(p[7]);
  args.dc_n = at(p[8]);
  args.dgates = at(p[9]);
  args.dh0 = at(p[10]);
  args.dc0 = at(p[11]);
  args.dc = at(p[12]);
  const py::gil_scoped_release release;
  lstm_cuda_backward(args, stream_at(stream));
}

}  // namespace

void bind_cuda_lstm(py::module_& m) {
  m.def("lstm_cuda_kernel", [](const Numbers& k) {
    return static_cast<int>(lstm_cuda_kernel(dims_of(k), precision_of(k), kernel_of(k)));
  });
  m.def("lstm_cuda_forward", &forward);
  m.def("lstm_cuda_backward", &backward);
}

}  // namespace crnn
