// Greedy reading, equation 1, and lexicon-based transcription.
#include <pybind11/stl.h>

#include <array>

#include "bindings/bindings.h"
#include "transcription/greedy.h"
#include "transcription/label_prob.h"
#include "transcription/lexicon.h"

namespace py = pybind11;

namespace crnn {
namespace {

using Triple = std::array<int64_t, 3>;

// log_probs as Python hands them over: address, whether double, shape [T, N, C], strides in
// elements, address of int64 lengths [N].
using Frames = std::tuple<uintptr_t, bool, Triple, Triple, uintptr_t>;

FrameBatch frame_batch(const Frames& frames) {
  const auto& [data, is_double, shape, strides, lengths] = frames;
  FrameBatch batch;
  batch.f32 = is_double ? nullptr : reinterpret_cast<const float*>(data);
  batch.f64 = is_double ? reinterpret_cast<const double*>(data) : nullptr;
  batch.T = shape[0], batch.N = shape[1], batch.C = shape[2];
  batch.stride_t = strides[0], batch.stride_n = strides[1], batch.stride_c = strides[2];
  batch.lengths = reinterpret_cast<const int64_t*>(lengths);
  return batch;
}

WordList label_list(const std::vector<std::vector<uint32_t>>& labels) {
  WordList list;
  for (const auto& label : labels) {
    list.append({label.data(), static_cast<int64_t>(label.size())});
  }
  return list;
}

py::list py_greedy_decode(const Frames& frames, int64_t blank, int num_threads) {
  std::vector<GreedyReading> readings;
  {
    py::gil_scoped_release release;
    readings = greedy_decode("greedy_decode", frame_batch(frames), blank, num_threads);
  }
  py::list list;
  for (const GreedyReading& reading : readings) {
    py::list spans;
    for (const Span& span : reading.spans) spans.append(py::make_tuple(span.begin, span.end));
    list.append(py::make_tuple(reading.labels, reading.log_prob, spans));
  }
  return list;
}

void py_label_log_probs(const Frames& frames, const std::vector<std::vector<uint32_t>>& labels,
                        int64_t blank, int num_threads, uintptr_t out) {
  const WordList list = label_list(labels);
  const FrameBatch batch = frame_batch(frames);
  py::gil_scoped_release release;
  greedy_decode("label_log_probs", batch, blank, num_threads);  // for its check of the values
  label_log_probs(batch, list, blank, num_threads, reinterpret_cast<double*>(out));
}

py::list py_decode(const Lexicon& lexicon, const Frames& frames, int64_t blank, int64_t delta,
                   int num_threads) {
  std::vector<Lexicon::Reading> readings;
  {
    py::gil_scoped_release release;
    readings = lexicon.decode("Lexicon.decode", frame_batch(frames), blank, delta, num_threads);
  }
  py::list list;
  for (const Lexicon::Reading& reading : readings) {
    list.append(
        py::make_tuple(reading.index, reading.log_prob, reading.labels, reading.candidates));
  }
  return list;
}

}  // namespace

void bind_transcription(py::module_& m) {
  m.def("collapse", [](const std::vector<int64_t>& path, int64_t blank) {
    std::vector<int64_t> labels;
    collapse(path.data(), static_cast<int64_t>(path.size()), blank, labels, nullptr);
    return labels;
  });
  m.def("greedy_decode", &py_greedy_decode);
  m.def("label_log_probs", &py_label_log_probs);

  py::class_<Lexicon> lexicon(m, "Lexicon");
  lexicon.def(py::init([](const std::vector<std::vector<uint32_t>>& words) {
    const WordList list = label_list(words);
    py::gil_scoped_release release;
    return std::make_unique<Lexicon>(list);
  }));
  lexicon.def("decode", &py_decode);
  lexicon.attr("all_words") = Lexicon::kAll;
}

}  // namespace crnn
