// Errors of files, as numbers that Python makes an OSError of.
#pragma once

#include <pybind11/pybind11.h>

#include <system_error>

namespace crnn {

// The error number of a system call that fails in `body`, which runs without the GIL; 0 if none
// does.
template <class Body>
int error_number(Body&& body) {
  try {
    pybind11::gil_scoped_release release;
    body();
    return 0;
  } catch (const std::system_error& error) {
    return error.code().value();
  }
}

}  // namespace crnn
