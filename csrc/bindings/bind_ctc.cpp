// CTC loss: pointers as integers, strides in elements. crnn_ext/ctc.py checks dtypes, shapes and
// devices; lengths and labels are checked here, where the loop over them is cheap.
#include <cstdint>
#include <vector>

#include "bindings/bindings.h"
#include "common/error.h"
#include "kernels/ctc.h"

namespace py = pybind11;

namespace crnn {
namespace {

struct Strides {
  int64_t t, n;
};

// The arguments that forward and backward share, as Python passes them.
struct Arguments {
  uintptr_t x, targets, input_lengths, target_lengths;
  Strides x_strides;
  int64_t T, N, C, targets_size, targets_width, blank;
  bool is_double, from_logits;
  int reduction;
  bool zero_infinity;
};

template <class Real>
struct Call {
  explicit Call(const Arguments& a) : offsets(static_cast<size_t>(a.N)) {
    batch.dims = {a.T, a.N, a.C, a.targets_size, a.blank, a.from_logits};
    batch.x = reinterpret_cast<const Real*>(a.x);
    batch.x_t = a.x_strides.t;
    batch.x_n = a.x_strides.n;
    batch.targets = reinterpret_cast<const int64_t*>(a.targets);
    batch.input_lengths = reinterpret_cast<const int64_t*>(a.input_lengths);
    batch.target_lengths = reinterpret_cast<const int64_t*>(a.target_lengths);
    batch.offsets = offsets.data();
    ctc_check(batch.dims, a.targets_width, batch.targets, batch.input_lengths, batch.target_lengths,
              offsets.data());
  }

  std::vector<int64_t> offsets;
  CtcBatch<Real> batch;
};

// What forward leaves for backward, in one buffer: losses [N], from logits the statistics
// [2, T, N], and the posteriors if a gradient is wanted.
template <class Real>
struct Saved {
  Saved(const CtcDims& dims, uintptr_t memory, bool with_posteriors)
      : losses(reinterpret_cast<Real*>(memory)) {
    const int64_t rows = dims.from_logits ? dims.T * dims.N : 0;
    Real* statistics = losses + dims.N;
    buffers = {statistics, statistics + rows, with_posteriors ? statistics + 2 * rows : nullptr};
  }

  Real* losses;
  CtcSaved<Real> buffers;
};

template <class Real>
void forward(const Arguments& a, uintptr_t reduced, uintptr_t memory, bool wants_gradient,
             int num_threads) {
  const Call<Real> call(a);
  const Saved<Real> saved(call.batch.dims, memory, wants_gradient);
  ctc_forward(call.batch, saved.losses, saved.buffers, num_threads);
  ctc_reduce(call.batch, saved.losses, static_cast<CtcReduction>(a.reduction), a.zero_infinity,
             reinterpret_cast<Real*>(reduced));
}

template <class Real>
void backward(const Arguments& a, uintptr_t memory, uintptr_t grad, int64_t grad_stride,
              uintptr_t dx, Strides dx_strides, int num_threads) {
  const Call<Real> call(a);
  const Saved<Real> saved(call.batch.dims, memory, true);
  ctc_backward(call.batch, saved.losses, saved.buffers, reinterpret_cast<const Real*>(grad),
               grad_stride, static_cast<CtcReduction>(a.reduction), a.zero_infinity,
               reinterpret_cast<Real*>(dx), dx_strides.t, dx_strides.n, num_threads);
}

}  // namespace

void bind_ctc(py::module_& m) {
  py::class_<Arguments>(m, "CtcArguments")
      .def(py::init([](uintptr_t x, int64_t x_t, int64_t x_n, uintptr_t targets,
                       uintptr_t input_lengths, uintptr_t target_lengths, int64_t T, int64_t N,
                       int64_t C, int64_t targets_size, int64_t targets_width, int64_t blank,
                       bool is_double, bool from_logits, int reduction, bool zero_infinity) {
             return Arguments{
                 x,           targets,   input_lengths, target_lengths, {x_t, x_n}, T,
                 N,           C,         targets_size,  targets_width,  blank,      is_double,
                 from_logits, reduction, zero_infinity};
           }),
           py::arg("x"), py::arg("x_t"), py::arg("x_n"), py::arg("targets"),
           py::arg("input_lengths"), py::arg("target_lengths"), py::arg("T"), py::arg("N"),
           py::arg("C"), py::arg("targets_size"), py::arg("targets_width"), py::arg("blank"),
           py::arg("is_double"), py::arg("from_logits"), py::arg("reduction"),
           py::arg("zero_infinity"));
  // For tensors on a GPU: checks what is on the host; 0 stands for the rest.
  m.def("ctc_check", [](int64_t T, int64_t N, int64_t C, int64_t targets_size, int64_t width,
                        uintptr_t targets, uintptr_t input_lengths, uintptr_t target_lengths) {
    std::vector<int64_t> offsets(static_cast<size_t>(N));
    ctc_check({T, N, C, targets_size, 0, false}, width, reinterpret_cast<const int64_t*>(targets),
              reinterpret_cast<const int64_t*>(input_lengths),
              reinterpret_cast<const int64_t*>(target_lengths), offsets.data());
  });
  m.def(
      "ctc_forward",
      [](const Arguments& a, uintptr_t reduced, uintptr_t saved, bool wants_gradient,
         int num_threads) {
        const py::gil_scoped_release release;
        const auto run = a.is_double ? forward<double> : forward<float>;
        run(a, reduced, saved, wants_gradient, num_threads);
      },
      py::arg("arguments"), py::arg("reduced"), py::arg("saved"), py::arg("wants_gradient"),
      py::arg("num_threads"));
  m.def(
      "ctc_backward",
      [](const Arguments& a, uintptr_t saved, uintptr_t grad, int64_t grad_stride, uintptr_t dx,
         int64_t dx_t, int64_t dx_n, int num_threads) {
        const py::gil_scoped_release release;
        const auto run = a.is_double ? backward<double> : backward<float>;
        run(a, saved, grad, grad_stride, dx, {dx_t, dx_n}, num_threads);
      },
      py::arg("arguments"), py::arg("saved"), py::arg("grad"), py::arg("grad_stride"),
      py::arg("dx"), py::arg("dx_t"), py::arg("dx_n"), py::arg("num_threads"));
}

}  // namespace crnn
