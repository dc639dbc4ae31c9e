// Greedy reading, beam search, equation 1 and alignment.
#include <pybind11/stl.h>

#include <memory>

#include "bindings/bindings.h"
#include "bindings/frames.h"
#include "transcription/alignment.h"
#include "transcription/beam.h"
#include "transcription/greedy.h"
#include "transcription/label_prob.h"
#include "transcription/lexicon.h"

namespace py = pybind11;

namespace crnn {
namespace {

WordList label_list(const std::vector<std::vector<uint32_t>>& labels) {
  WordList list;
  for (const auto& label : labels) {
    list.append({label.data(), static_cast<int64_t>(label.size())});
  }
  return list;
}

py::list span_list(const std::vector<Span>& spans) {
  py::list list;
  for (const Span& span : spans) list.append(py::make_tuple(span.begin, span.end));
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
    list.append(py::make_tuple(reading.labels, reading.log_prob, span_list(reading.spans)));
  }
  return list;
}

// An argument that may be None. (A pointer would do, but pybind11 tries None only after it has
// converted all arguments once in vain.)
template <class T>
const T* or_null(const py::object& given) {
  return given.is_none() ? nullptr : given.cast<const T*>();
}

// free: classes, with a lexicon.
py::list py_beam_decode(const Frames& frames, int64_t blank, int64_t beam, int64_t n_best,
                        double cutoff, const py::object& lm, double lm_weight, double lm_unknown,
                        double symbol_bonus, const py::object& words_of,
                        const std::vector<int64_t>& free, int num_threads) {
  BeamOptions options;
  options.beam = beam;
  options.n_best = n_best;
  options.cutoff = cutoff;
  options.lm = or_null<LanguageModel>(lm);
  options.lm_weight = lm_weight;
  options.lm_unknown = lm_unknown;
  options.symbol_bonus = symbol_bonus;
  const auto* lexicon = or_null<Lexicon>(words_of);
  std::vector<std::vector<BeamReading>> readings;
  {
    py::gil_scoped_release release;
    std::unique_ptr<const WordText> words;
    if (lexicon) words = std::make_unique<WordText>(lexicon->index(), free, lexicon->classes());
    options.words = words.get();
    readings = beam_decode("beam_decode", frame_batch(frames), blank, options, num_threads);
  }
  py::list list;
  for (const std::vector<BeamReading>& sample : readings) {
    py::list best;
    for (const BeamReading& reading : sample) {
      best.append(py::make_tuple(reading.labels, reading.log_prob, reading.score));
    }
    list.append(std::move(best));
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

py::list py_align(const Frames& frames, const std::vector<std::vector<uint32_t>>& labels,
                  int64_t blank, int num_threads, uintptr_t occupancy) {
  const WordList list = label_list(labels);
  const FrameBatch batch = frame_batch(frames);
  std::vector<LabelAlignment> alignments;
  {
    py::gil_scoped_release release;
    greedy_decode("align", batch, blank, num_threads);  // for its check of the values
    alignments = align(batch, list, blank, num_threads, reinterpret_cast<double*>(occupancy));
  }
  py::list result;
  for (const LabelAlignment& one : alignments) {
    result.append(py::make_tuple(one.log_prob, one.path_log_prob, span_list(one.spans)));
  }
  return result;
}

void py_replacement_log_probs(const Frames& frames,
                              const std::vector<std::vector<uint32_t>>& labels, int64_t blank,
                              int num_threads, uintptr_t out) {
  const WordList list = label_list(labels);
  const FrameBatch batch = frame_batch(frames);
  py::gil_scoped_release release;
  greedy_decode("replacement_log_probs", batch, blank, num_threads);  // likewise
  replacement_log_probs(batch, list, blank, num_threads, reinterpret_cast<double*>(out));
}

}  // namespace

void bind_transcription(py::module_& m) {
  m.def("collapse", [](const std::vector<int64_t>& path, int64_t blank) {
    std::vector<int64_t> labels;
    collapse(path.data(), static_cast<int64_t>(path.size()), blank, labels, nullptr);
    return labels;
  });
  m.def("align", &py_align);
  m.def("beam_decode", &py_beam_decode);
  m.def("greedy_decode", &py_greedy_decode);
  m.def("label_log_probs", &py_label_log_probs);
  m.def("replacement_log_probs", &py_replacement_log_probs);
}

}  // namespace crnn
