// The Python module `emulated`: the CUDA functions of crnn_ext._C, run by the emulator.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "bindings/bindings.h"
#include "common/error.h"
#include "emulator.h"
#include "selftest.h"

namespace py = pybind11;

PYBIND11_MODULE(emulated, m) {
  py::register_local_exception<emulator::Error>(m, "EmulatorError", PyExc_RuntimeError);
  py::register_local_exception<crnn::CudaError>(m, "CudaError", PyExc_RuntimeError);

  crnn::bind_cuda_ctc(m);
  crnn::bind_cuda_greedy(m);

  m.def("seed", emulator::seed);
  m.def("launches", emulator::launches);
  m.def("unwritten", emulator::unwritten);
  // (name, address, bytes, access) of every tensor that the next launches may use; access is
  // "r", "w" or "rw".
  m.def("set_regions",
        [](const std::vector<std::tuple<std::string, uintptr_t, size_t, std::string>>& tensors) {
          std::vector<emulator::Region> regions;
          for (const auto& [name, address, bytes, access] : tensors) {
            regions.push_back({name, address, address + bytes,
                               access == "r"   ? emulator::Access::read
                               : access == "w" ? emulator::Access::write
                                               : emulator::Access::read_write});
          }
          emulator::set_regions(regions);
        });
  m.def("set_device", [](int major, int minor, int multiprocessors, size_t shared_per_block) {
    emulator::device() = {major, minor, multiprocessors, shared_per_block};
  });
  crnn::bind_cuda_lstm(m);
  m.def("selftest",
        [](const std::string& name, uintptr_t in, uintptr_t out, uintptr_t counter, int n) {
          crnn::selftest(name, reinterpret_cast<const float*>(in), reinterpret_cast<float*>(out),
                         reinterpret_cast<unsigned*>(counter), n);
        });
}
