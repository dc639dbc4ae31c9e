// Large buffers for tensors: torch.frombuffer keeps the object, and so the memory, alive.
#include <pybind11/pybind11.h>

#include "bindings/bindings.h"
#include "common/memory.h"

namespace py = pybind11;

namespace crnn {

void bind_memory(py::module_& m) {
  m.attr("large_buffer_bytes") = kLargeBuffer;
  m.def("release_large_buffer", release_large_buffer);
  py::class_<LargeBuffer>(m, "LargeBuffer", py::buffer_protocol())
      .def(py::init<size_t>())
      .def_buffer([](LargeBuffer& b) {
        const auto bytes = static_cast<py::ssize_t>(b.bytes());
        return py::buffer_info(b.data(), 1, py::format_descriptor<unsigned char>::format(), 1,
                               {bytes}, {py::ssize_t(1)});
      });
}

}  // namespace crnn
