// One form for every message: "<op>: <argument> must <rule>, got <value>".
#pragma once

#include <sstream>
#include <stdexcept>

namespace crnn {

// A call of the CUDA runtime failed; crnn_ext.CudaError in Python.
struct CudaError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Throws std::invalid_argument, which the bindings turn into ValueError.
template <class Got>
[[noreturn]] void fail(const char* op, const char* argument, const char* rule, const Got& got) {
  std::ostringstream message;
  message << op << ": " << argument << " must " << rule << ", got " << got;
  throw std::invalid_argument(message.str());
}

}  // namespace crnn
