// Greedy reading on CUDA: addresses, then numbers, then the stream (crnn_ext/_greedy_cuda.py).
#include <pybind11/stl.h>

#include <array>

#include "bindings/bindings.h"
#include "kernels/greedy_cuda.h"

namespace py = pybind11;

namespace crnn {

void bind_cuda_greedy(py::module_& m) {
  // x, lengths (or 0); readings; best
  // T, N, C, blank, type, strides of x
  m.def("greedy_cuda",
        [](const std::array<uintptr_t, 4>& p, const std::array<int64_t, 8>& k, uintptr_t stream) {
          const py::gil_scoped_release release;
          const GreedyCudaBatch batch{k[0],
                                      k[1],
                                      k[2],
                                      k[3],
                                      static_cast<GreedyType>(k[4]),
                                      reinterpret_cast<const void*>(p[0]),
                                      k[5],
                                      k[6],
                                      k[7],
                                      reinterpret_cast<const int64_t*>(p[1])};
          greedy_cuda(batch, reinterpret_cast<void*>(p[2]), reinterpret_cast<void*>(p[3]),
                      reinterpret_cast<CUstream_st*>(stream));
        });
}

}  // namespace crnn
