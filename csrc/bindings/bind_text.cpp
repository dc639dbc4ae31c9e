// Edit distance and the BK-tree. Strings cross as code points, lone surrogates included.
#include <pybind11/stl.h>

#include <memory>

#include "bindings/bindings.h"
#include "text/edit_distance.h"
#include "text/shared_bk_tree.h"

namespace py = pybind11;

namespace crnn {
namespace {

constexpr int64_t kReleaseAbove = 1 << 14;  // cells of the dynamic programme, about a microsecond

std::vector<uint32_t> code_points(const py::str& text) {
  const Py_ssize_t size = PyUnicode_GetLength(text.ptr());
  std::vector<uint32_t> units(static_cast<size_t>(size));
  if (size > 0 && PyUnicode_AsUCS4(text.ptr(), units.data(), size, 0) == nullptr) {
    throw py::error_already_set();
  }
  return units;
}

Units view(const std::vector<uint32_t>& units) {
  return {units.data(), static_cast<int64_t>(units.size())};
}

WordList word_list(const py::list& words) {
  WordList list;
  for (py::handle word : words) {
    list.append(view(code_points(py::reinterpret_borrow<py::str>(word))));
  }
  return list;
}

py::str text(Units units) {
  PyObject* made = PyUnicode_FromKindAndData(PyUnicode_4BYTE_KIND, units.data, units.size);
  if (made == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::str>(made);
}

py::list texts(const WordList& words) {
  py::list list;
  for (int64_t i = 0; i < words.size(); ++i) list.append(text(words[i]));
  return list;
}

int64_t py_edit_distance(const py::str& a, const py::str& b, int64_t bound) {
  const std::vector<uint32_t> x = code_points(a), y = code_points(b);
  if (view(x).size * view(y).size <= kReleaseAbove) return edit_distance(view(x), view(y), bound);
  py::gil_scoped_release release;
  return edit_distance(view(x), view(y), bound);
}

py::list py_query(const SharedBkTree& tree, const py::list& words, int64_t delta, int num_threads) {
  const WordList queries = word_list(words);
  std::vector<SharedBkTree::Found> results;
  {
    py::gil_scoped_release release;
    results = tree.query(queries, delta, num_threads);
  }
  py::list lists;
  for (const SharedBkTree::Found& found : results) {
    py::list list(static_cast<size_t>(found.words.size()));
    for (int64_t i = 0; i < found.words.size(); ++i) {
      const auto k = static_cast<size_t>(i);
      py::tuple match = py::make_tuple(text(found.words[i]), found.distances[k]);
      // Holds no cycle: the garbage collector would find out one by one, and there may be many.
      PyObject_GC_UnTrack(match.ptr());
      list[k] = std::move(match);
    }
    lists.append(std::move(list));
  }
  return lists;
}

}  // namespace

void bind_text(py::module_& m) {
  m.attr("no_bound") = kNoBound;
  m.def("edit_distance", &py_edit_distance);

  py::class_<SharedBkTree> tree(m, "BkTree");
  tree.def(py::init<>());
  tree.def("extend", [](SharedBkTree& self, const py::list& words) {
    const WordList list = word_list(words);
    py::gil_scoped_release release;
    return self.extend(list);
  });
  tree.def("query", &py_query);
  tree.def("contains", [](const SharedBkTree& self, const py::str& word) {
    const std::vector<uint32_t> units = code_points(word);
    py::gil_scoped_release release;
    return self.contains(view(units));
  });
  tree.def("size", &SharedBkTree::size, py::call_guard<py::gil_scoped_release>());
  tree.def("memory", &SharedBkTree::bytes, py::call_guard<py::gil_scoped_release>());
  tree.def("slice", [](const SharedBkTree& self, int64_t begin, int64_t end) {
    WordList words;
    {
      py::gil_scoped_release release;
      words = self.slice(begin, end);
    }
    return texts(words);
  });
  tree.def("save", [](const SharedBkTree& self) {
    std::string bytes;
    {
      py::gil_scoped_release release;
      bytes = self.save();
    }
    return py::bytes(bytes);
  });
  tree.def_static("load", [](const std::string& bytes) {
    py::gil_scoped_release release;
    return std::make_unique<SharedBkTree>(BkTree::load(bytes));
  });
  tree.def_static("announced_size", &BkTree::announced_size);
  tree.attr("header_bytes") = BkTree::kHeaderBytes;
}

}  // namespace crnn
