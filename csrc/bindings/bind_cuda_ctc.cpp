// CTC loss on CUDA: addresses, then numbers, then the stream (crnn_ext/_ctc_cuda.py).
#include <pybind11/stl.h>

#include <array>

#include "bindings/bindings.h"
#include "kernels/ctc_cuda.h"

namespace py = pybind11;

namespace crnn {
namespace {

using Numbers = std::array<int64_t, 20>;

template <class T>
T* at(uintptr_t address) {
  return reinterpret_cast<T*>(address);
}

CtcCudaBatch make_batch(const Numbers& k, uintptr_t x, uintptr_t targets, uintptr_t input_lengths,
                        uintptr_t target_lengths) {
  CtcCudaBatch batch;
  batch.dims = {k[0], k[1], k[2], k[3], k[4], k[5] != 0};
  batch.targets_width = k[6];
  batch.longest = k[7];
  batch.type = static_cast<CtcType>(k[8]);
  batch.x = at<const void>(x);
  batch.x_t = k[9];
  batch.x_n = k[10];
  batch.targets = {at<const void>(targets), static_cast<int>(k[11])};
  batch.input_lengths = {at<const void>(input_lengths), static_cast<int>(k[12])};
  batch.target_lengths = {at<const void>(target_lengths), static_cast<int>(k[13])};
  batch.reduction = static_cast<CtcReduction>(k[14]);
  batch.zero_infinity = k[15] != 0;
  return batch;
}

}  // namespace

void bind_cuda_ctc(py::module_& m) {
  m.def("ctc_cuda_scratch_bytes", [](const Numbers& k) {
    return ctc_cuda_scratch_bytes(make_batch(k, 0, 0, 0, 0), k[16] != 0);
  });
  // x, targets, input_lengths, target_lengths; saved, loss; scratch
  m.def("ctc_cuda_forward",
        [](const std::array<uintptr_t, 7>& p, const Numbers& k, uintptr_t stream) {
          const py::gil_scoped_release release;
          ctc_cuda_forward(make_batch(k, p[0], p[1], p[2], p[3]), {at<void>(p[4]), k[16] != 0},
                           at<void>(p[5]), at<void>(p[6]), at<CUstream_st>(stream));
        });
  // x, targets, saved, grad; dx
  m.def("ctc_cuda_backward", [](const std::array<uintptr_t, 5>& p, const Numbers& k,
                                uintptr_t stream) {
    const py::gil_scoped_release release;
    ctc_cuda_backward(make_batch(k, p[0], p[1], 0, 0), {at<void>(p[2]), true}, at<const void>(p[3]),
                      k[17], at<void>(p[4]), k[18], k[19], at<CUstream_st>(stream));
  });
}

}  // namespace crnn
