// Lexicon-based transcription. Words cross as lists of classes or, where each symbol is one
// character, as strings.
#include <pybind11/stl.h>

#include <memory>
#include <unordered_map>

#include "bindings/bindings.h"
#include "bindings/files.h"
#include "bindings/frames.h"
#include "transcription/lexicon.h"

namespace py = pybind11;

namespace crnn {
namespace {

// One-character symbols and their classes, both ways.
class Spelling {
 public:
  // `symbols`: the character of each class; the blank's place holds any.
  Spelling(const py::str& symbols, int64_t blank) : characters_(code_points(symbols)) {
    for (size_t i = 0; i < characters_.size(); ++i) {
      if (static_cast<int64_t>(i) != blank) classes_[characters_[i]] = static_cast<uint32_t>(i);
    }
  }

  // The words as classes, and the places of those with an unknown symbol, which are left out.
  std::pair<WordList, std::vector<size_t>> encode(const py::list& words) const {
    std::pair<WordList, std::vector<size_t>> result;
    auto& [list, unknown] = result;
    for (size_t i = 0; i < words.size(); ++i) {
      const size_t begin = list.units.size();
      const PyObject* word = PyList_GET_ITEM(words.ptr(), static_cast<Py_ssize_t>(i));
      if (append(const_cast<PyObject*>(word), list.units)) {
        list.ends.push_back(static_cast<int64_t>(list.units.size()));
      } else {
        list.units.resize(begin);
        unknown.push_back(i);
      }
    }
    return result;
  }

  py::list decode(const WordList& words) const {
    py::list texts;
    std::vector<uint32_t> text;
    for (int64_t i = 0; i < words.size(); ++i) {
      text.clear();
      const Units word = words[i];
      for (int64_t k = 0; k < word.size; ++k) text.push_back(characters_[word.data[k]]);
      PyObject* made = PyUnicode_FromKindAndData(PyUnicode_4BYTE_KIND, text.data(), word.size);
      if (made == nullptr) throw py::error_already_set();
      texts.append(py::reinterpret_steal<py::str>(made));
    }
    return texts;
  }

 private:
  static std::vector<uint32_t> code_points(const py::str& text) {
    const Py_ssize_t size = PyUnicode_GetLength(text.ptr());
    std::vector<uint32_t> points(static_cast<size_t>(size));
    for (Py_ssize_t i = 0; i < size; ++i) {
      points[static_cast<size_t>(i)] = PyUnicode_READ_CHAR(text.ptr(), i);
    }
    return points;
  }

  bool append(PyObject* word, std::vector<uint32_t>& units) const {
    const Py_ssize_t size = PyUnicode_GET_LENGTH(word);
    const auto kind = PyUnicode_KIND(word);
    const void* data = PyUnicode_DATA(word);
    for (Py_ssize_t i = 0; i < size; ++i) {
      const auto found = classes_.find(PyUnicode_READ(kind, data, i));
      if (found == classes_.end()) return false;
      units.push_back(found->second);
    }
    return true;
  }

  std::vector<uint32_t> characters_;
  std::unordered_map<uint32_t, uint32_t> classes_;
};

WordList label_list(const std::vector<std::vector<uint32_t>>& labels) {
  WordList list;
  for (const auto& label : labels) list.append({label.data(), static_cast<int64_t>(label.size())});
  return list;
}

py::list lists(const WordList& words) {
  py::list all;
  for (int64_t i = 0; i < words.size(); ++i) {
    const Units word = words[i];
    py::list list(static_cast<size_t>(word.size));
    for (int64_t k = 0; k < word.size; ++k) list[static_cast<size_t>(k)] = word.data[k];
    all.append(std::move(list));
  }
  return all;
}

std::vector<int64_t> lengths(const WordList& words) {
  std::vector<int64_t> all;
  for (int64_t i = 0; i < words.size(); ++i) all.push_back(words[i].size);
  return all;
}

LexiconMethod method_named(const std::string& name) {
  if (name == "bk-tree") return LexiconMethod::bk_tree;
  return name == "exhaustive" ? LexiconMethod::exhaustive : LexiconMethod::exact;
}

py::list py_decode(const Lexicon& lexicon, const Frames& frames, const std::string& method,
                   int64_t delta, int64_t n_best, double tolerance,
                   std::pair<uintptr_t, int64_t> log_prior, int num_threads) {
  LexiconOptions options;
  options.method = method_named(method);
  options.delta = delta;
  options.n_best = n_best;
  options.tolerance = tolerance;
  options.log_prior = reinterpret_cast<const double*>(log_prior.first);
  options.prior_size = log_prior.second;
  std::vector<LexiconReading> readings;
  {
    py::gil_scoped_release release;
    readings = lexicon.decode("Lexicon.decode", frame_batch(frames), options, num_threads);
  }
  py::list list;
  for (const LexiconReading& reading : readings) {
    list.append(py::make_tuple(lists(reading.words), reading.log_probs, reading.scores,
                               reading.found, reading.total_score, reading.total_probability,
                               reading.looked_at));
  }
  return list;
}

}  // namespace

void bind_lexicon(py::module_& m) {
  py::class_<WordList>(m, "WordList")
      .def(py::init(&label_list))
      .def("lists", &lists)
      .def("lengths", &lengths)
      .def("__len__", &WordList::size);

  py::class_<Spelling>(m, "Spelling")
      .def(py::init<const py::str&, int64_t>())
      .def("encode", &Spelling::encode)
      .def("decode", &Spelling::decode);

  using Released = py::call_guard<py::gil_scoped_release>;
  py::class_<Lexicon> lexicon(m, "Lexicon");
  lexicon.def(py::init<int64_t, int64_t>());
  lexicon.def("add", &Lexicon::add, Released());
  lexicon.def("remove", &Lexicon::remove, Released());
  lexicon.def(
      "contains", [](const Lexicon& self, const WordList& word) { return self.contains(word[0]); },
      Released());
  lexicon.def("size", &Lexicon::size, Released());
  lexicon.def("memory", &Lexicon::bytes, Released());
  lexicon.def("slice", &Lexicon::slice, Released());
  lexicon.def_property_readonly("classes", &Lexicon::classes);
  lexicon.def_property_readonly("blank", &Lexicon::blank);
  lexicon.def("decode", &py_decode);
  lexicon.def("save", [](const Lexicon& self, int descriptor, const py::bytes& text) {
    const std::string header = text;
    return error_number([&] { self.save(descriptor, header); });
  });
  lexicon.def_static("load", [](int descriptor) {
    std::unique_ptr<Lexicon> loaded;
    std::string header;
    const int error = error_number([&] { loaded = Lexicon::load(descriptor, header); });
    return py::make_tuple(error, py::bytes(header), std::move(loaded));
  });
}

}  // namespace crnn
