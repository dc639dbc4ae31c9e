// The Python module crnn_ext._C: integers and strings in, raw kernels out. Callers are the typed
// functions of crnn_ext, which check every argument first.
#include <pybind11/pybind11.h>

#include "bindings/bindings.h"
#include "common/parallel.h"

namespace {

void raise_pending_signal() {
  pybind11::gil_scoped_acquire gil;
  if (PyErr_CheckSignals() != 0) throw pybind11::error_already_set();
}

}  // namespace

PYBIND11_MODULE(_C, m) {
  m.doc() = "Compiled part of crnn_ext; use the functions of crnn_ext instead.";
  m.attr("version") = CRNN_VERSION;
  crnn::set_interrupt_check(raise_pending_signal);
  crnn::bind_ctc(m);
  crnn::bind_cuda_ctc(m);
  crnn::bind_cuda_greedy(m);
  crnn::bind_cuda_lstm(m);
  crnn::bind_language_model(m);
  crnn::bind_lexicon(m);
  crnn::bind_lstm(m);
  crnn::bind_memory(m);
  crnn::bind_system(m);
  crnn::bind_text(m);
  crnn::bind_transcription(m);
}
