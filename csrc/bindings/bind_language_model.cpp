// The n-gram model. Texts cross as a WordList (bind_lexicon.cpp).
#include <pybind11/stl.h>

#include <memory>

#include "bindings/bindings.h"
#include "bindings/files.h"
#include "text/language_model.h"

namespace py = pybind11;

namespace crnn {
namespace {

std::vector<double> log_probs(const LanguageModel& model, const WordList& texts) {
  std::vector<double> all;
  for (int64_t i = 0; i < texts.size(); ++i) all.push_back(model.log_prob(texts[i]));
  return all;
}

// Of every class after `text`; in the place of the blank that of the end.
std::vector<double> next_log_probs(const LanguageModel& model, const WordList& text) {
  LanguageModel::State state = model.start();
  for (uint32_t unit : text.units) state = model.step(state, unit).next;
  std::vector<double> all;
  for (int64_t c = 0; c < model.classes(); ++c) {
    all.push_back(model.step(state, static_cast<uint32_t>(c)).log_prob);
  }
  return all;
}

}  // namespace

void bind_language_model(py::module_& m) {
  using Released = py::call_guard<py::gil_scoped_release>;
  py::class_<LanguageModel> model(m, "LanguageModel");
  model.attr("highest_order") = LanguageModel::kHighestOrder;
  model.def_static(
      "build",
      [](const WordList& texts, const std::vector<uint64_t>& counts, int64_t classes, int64_t blank,
         int64_t order) {
        return LanguageModel::build(texts, counts.data(), classes, blank, order);
      },
      Released());
  model.def_property_readonly("classes", &LanguageModel::classes);
  model.def_property_readonly("blank", &LanguageModel::blank);
  model.def_property_readonly("order", &LanguageModel::order);
  model.def("size", &LanguageModel::size);
  model.def("memory", &LanguageModel::bytes);
  model.def("log_probs", &log_probs, Released());
  model.def("next_log_probs", &next_log_probs, Released());
  model.def("save", [](const LanguageModel& self, int descriptor, const py::bytes& text) {
    const std::string header = text;
    return error_number([&] { self.save(descriptor, header); });
  });
  model.def_static("load", [](int descriptor) {
    std::unique_ptr<LanguageModel> loaded;
    std::string header;
    const int error = error_number([&] { loaded = LanguageModel::load(descriptor, header); });
    return py::make_tuple(error, py::bytes(header), std::move(loaded));
  });
}

}  // namespace crnn
