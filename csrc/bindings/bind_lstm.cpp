// The LSTM layer: pointers as integers, sizes and strides in elements.
#include <pybind11/stl.h>

#include <array>
#include <vector>

#include "bindings/bindings.h"
#include "kernels/lstm.h"

namespace py = pybind11;

namespace crnn {
namespace {

using Pointer = uintptr_t;

template <class Scalar>
Scalar* at(Pointer p) {
  return reinterpret_cast<Scalar*>(p);
}

LstmDims make_dims(const std::array<int64_t, 5>& d) { return {d[0], d[1], d[2], d[3], d[4]}; }

// weights: (w_ih, w_hh) or (w_ih, w_hh, b_ih, b_hh) of each direction in turn.
template <class Scalar>
void forward(const std::array<int64_t, 5>& dims, Pointer x, int64_t x_stride_t, int64_t x_stride_n,
             Pointer lengths, const std::vector<Pointer>& weights, Pointer h0, Pointer c0,
             Pointer y, Pointer h_n, Pointer c_n, Pointer gates, Pointer cells, int num_threads) {
  LstmForward<Scalar> args{};
  args.dims = make_dims(dims);
  args.x = at<const Scalar>(x);
  args.x_stride_t = x_stride_t;
  args.x_stride_n = x_stride_n;
  args.lengths = at<const int64_t>(lengths);
  const size_t per_direction = weights.size() / static_cast<size_t>(args.dims.D);
  for (size_t d = 0; d < static_cast<size_t>(args.dims.D); ++d) {
    const Pointer* w = weights.data() + d * per_direction;
    args.w_ih[d] = at<const Scalar>(w[0]);
    args.w_hh[d] = at<const Scalar>(w[1]);
    if (per_direction < 4) continue;
    args.b_ih[d] = at<const Scalar>(w[2]);
    args.b_hh[d] = at<const Scalar>(w[3]);
  }
  args.h0 = at<const Scalar>(h0);
  args.c0 = at<const Scalar>(c0);
  args.y = at<Scalar>(y);
  args.h_n = at<Scalar>(h_n);
  args.c_n = at<Scalar>(c_n);
  args.gates = at<Scalar>(gates);
  args.cells = at<Scalar>(cells);
  py::gil_scoped_release release;
  lstm_forward(args, num_threads);
}

// weights: as in forward.
template <class Scalar>
void backward(const std::array<int64_t, 5>& dims, Pointer lengths,
              const std::vector<Pointer>& weights, Pointer c0, Pointer gates, Pointer cells,
              Pointer dy, Pointer dh_n, Pointer dc_n, Pointer dgates, Pointer dh0, Pointer dc0,
              int num_threads) {
  LstmBackward<Scalar> args{};
  args.dims = make_dims(dims);
  args.lengths = at<const int64_t>(lengths);
  const size_t per_direction = weights.size() / static_cast<size_t>(args.dims.D);
  for (size_t d = 0; d < static_cast<size_t>(args.dims.D); ++d) {
    args.w_hh[d] = at<const Scalar>(weights[d * per_direction + 1]);
  }
  args.c0 = at<const Scalar>(c0);
  args.gates = at<const Scalar>(gates);
  args.cells = at<const Scalar>(cells);
  args.dy = at<const Scalar>(dy);
  args.dh_n = at<const Scalar>(dh_n);
  args.dc_n = at<const Scalar>(dc_n);
  args.dgates = at<Scalar>(dgates);
  args.dh0 = at<Scalar>(dh0);
  args.dc0 = at<Scalar>(dc0);
  py::gil_scoped_release release;
  lstm_backward(args, num_threads);
}

template <class Scalar>
void bind(py::module_& m, const char* forward_name, const char* backward_name) {
  m.def(forward_name, &forward<Scalar>, py::arg("dims"), py::arg("x"), py::arg("x_stride_t"),
        py::arg("x_stride_n"), py::arg("lengths"), py::arg("weights"), py::arg("h0"), py::arg("c0"),
        py::arg("y"), py::arg("h_n"), py::arg("c_n"), py::arg("gates"), py::arg("cells"),
        py::arg("num_threads"));
  m.def(backward_name, &backward<Scalar>, py::arg("dims"), py::arg("lengths"), py::arg("weights"),
        py::arg("c0"), py::arg("gates"), py::arg("cells"), py::arg("dy"), py::arg("dh_n"),
        py::arg("dc_n"), py::arg("dgates"), py::arg("dh0"), py::arg("dc0"), py::arg("num_threads"));
}

}  // namespace

void bind_lstm(py::module_& m) {
  bind<float>(m, "lstm_forward_f32", "lstm_backward_f32");
  bind<double>(m, "lstm_forward_f64", "lstm_backward_f64");
}

}  // namespace crnn
