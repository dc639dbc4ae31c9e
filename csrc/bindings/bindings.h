// One function per subject; module.cpp calls them all.
#pragma once

#include <pybind11/pybind11.h>

namespace crnn {

void bind_ctc(pybind11::module_& m);
void bind_cuda_ctc(pybind11::module_& m);
void bind_cuda_greedy(pybind11::module_& m);
void bind_cuda_lstm(pybind11::module_& m);
void bind_language_model(pybind11::module_& m);
void bind_lexicon(pybind11::module_& m);
void bind_lstm(pybind11::module_& m);
void bind_memory(pybind11::module_& m);
void bind_system(pybind11::module_& m);
void bind_text(pybind11::module_& m);
void bind_transcription(pybind11::module_& m);

}  // namespace crnn
