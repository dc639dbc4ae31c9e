// What was built and what the machine has.
#include <pybind11/stl.h>

#include "bindings/bindings.h"
#include "common/cpu_features.h"
#include "common/error.h"
#include "kernels/device.h"

namespace py = pybind11;

namespace crnn {

void bind_system(py::module_& m) {
  py::register_local_exception<CudaError>(m, "CudaError", PyExc_RuntimeError).attr("__doc__") =
      "A kernel could not be launched on the GPU; the message names the operation and CUDA's "
      "reason.";
  m.attr("built_with_cuda") = cuda_status().built;
  m.def("simd_level", [] { return simd_level_name(simd_level()); });
  m.def("cuda_status", [] {
    const CudaStatus status = cuda_status();
    py::list devices;
    for (const CudaDevice& d : status.devices) {
      py::dict item;
      item["name"] = d.name;
      item["capability"] = py::make_tuple(d.major, d.minor);
      item["total_memory"] = d.total_memory;
      item["multiprocessors"] = d.multiprocessors;
      devices.append(item);
    }
    py::dict result;
    result["built"] = status.built;
    result["runtime_version"] = status.runtime_version;
    result["driver_version"] = status.driver_version;
    result["problem"] = status.problem;
    result["devices"] = devices;
    return result;
  });
}

}  // namespace crnn
