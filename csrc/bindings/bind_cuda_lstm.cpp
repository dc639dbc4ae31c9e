// The LSTM recurrence on a GPU: pointers and the stream as integers, precision and kernel by name.
#include <pybind11/stl.h>

#include <array>
#include <string>
#include <vector>

#include "bindings/bindings.h"
#include "kernels/lstm_cuda.h"

namespace py = pybind11;

namespace crnn {
namespace {

using Pointer = uintptr_t;
using Dims = std::array<int64_t, 5>;
constexpr const char* kPrecisions[] = {"float64", "float32", "tf32", "float16", "bfloat16"};
constexpr const char* kKernels[] = {"auto", "plain", "cluster4", "cluster8"};

void* at(Pointer p) { return reinterpret_cast<void*>(p); }
CUstream_st* stream_at(Pointer p) { return reinterpret_cast<CUstream_st*>(p); }
const int64_t* lengths_at(Pointer p) { return reinterpret_cast<const int64_t*>(p); }
LstmDims make_dims(const Dims& d) { return {d[0], d[1], d[2], d[3], d[4]}; }

// The index of `name`, in the order of the enumeration.
template <class Enum, size_t count>
Enum find(const char* const (&names)[count], const std::string& name) {
  for (size_t i = 0; i < count; ++i) {
    if (name == names[i]) return static_cast<Enum>(i);
  }
  throw py::value_error("LSTM: no precision or kernel of the name " + name);
}

std::string kernel(const Dims& dims, const std::string& precision, const std::string& wanted) {
  const auto found = lstm_cuda_kernel(make_dims(dims), find<LstmPrecision>(kPrecisions, precision),
                                      find<LstmKernel>(kKernels, wanted));
  return kKernels[static_cast<size_t>(found)];
}

// w_hh: one per direction; biases: (b_ih, b_hh) per direction, or none.
void forward(const Dims& dims, const std::string& precision, const std::string& kernel,
             bool training, Pointer lengths, const std::vector<Pointer>& w_hh,
             const std::vector<Pointer>& biases, Pointer h0, Pointer c0, Pointer gates,
             Pointer cells, Pointer y, Pointer h_n, Pointer c_n, Pointer stream) {
  LstmCudaForward args{};
  args.dims = make_dims(dims);
  args.precision = find<LstmPrecision>(kPrecisions, precision);
  args.kernel = find<LstmKernel>(kKernels, kernel);
  args.training = training;
  args.lengths = lengths_at(lengths);
  for (size_t d = 0; d < w_hh.size(); ++d) {
    args.w_hh[d] = at(w_hh[d]);
    if (biases.empty()) continue;
    args.b_ih[d] = at(biases[2 * d]);
    args.b_hh[d] = at(biases[2 * d + 1]);
  }
  args.h0 = at(h0);
  args.c0 = at(c0);
  args.gates = at(gates);
  args.cells = at(cells);
  args.y = at(y);
  args.h_n = at(h_n);
  args.c_n = at(c_n);
  py::gil_scoped_release release;
  lstm_cuda_forward(args, stream_at(stream));
}

void backward(const Dims& dims, const std::string& precision, const std::string& kernel,
              Pointer lengths, const std::vector<Pointer>& w_hh, Pointer c0, Pointer gates,
              Pointer cells, Pointer dy, Pointer dh_n, Pointer dc_n, Pointer dgates, Pointer dh0,
              Pointer dc0, Pointer dc, Pointer stream) {
  LstmCudaBackward args{};
  args.dims = make_dims(dims);
  args.precision = find<LstmPrecision>(kPrecisions, precision);
  args.kernel = find<LstmKernel>(kKernels, kernel);
  args.lengths = lengths_at(lengths);
  for (size_t d = 0; d < w_hh.size(); ++d) args.w_hh[d] = at(w_hh[d]);
  args.c0 = at(c0);
  args.gates = at(gates);
  args.cells = at(cells);
  args.dy = at(dy);
  args.dh_n = at(dh_n);
  args.dc_n = at(dc_n);
  args.dgates = at(dgates);
  args.dh0 = at(dh0);
  args.dc0 = at(dc0);
  args.dc = at(dc);
  py::gil_scoped_release release;
  lstm_cuda_backward(args, stream_at(stream));
}

}  // namespace

void bind_cuda_lstm(py::module_& m) {
  m.def("lstm_cuda_kernel", &kernel);
  m.def("lstm_cuda_forward", &forward);
  m.def("lstm_cuda_backward", &backward);
}

}  // namespace crnn
