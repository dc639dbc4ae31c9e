// Many words, end to end.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "text/edit_distance.h"

namespace crnn {

struct WordList {
  std::vector<uint32_t> units;
  std::vector<int64_t> ends;  // of each word, in units

  int64_t size() const { return static_cast<int64_t>(ends.size()); }
  Units operator[](int64_t i) const {
    const int64_t begin = i == 0 ? 0 : ends[static_cast<size_t>(i - 1)];
    return {units.data() + begin, ends[static_cast<size_t>(i)] - begin};
  }
  void append(Units word) {
    units.insert(units.end(), word.data, word.data + word.size);
    ends.push_back(static_cast<int64_t>(units.size()));
  }
};

}  // namespace crnn
