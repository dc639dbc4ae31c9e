// Edit distances of one short pattern to several texts at once: a text a lane.
#pragma once

#include <cstdint>

namespace crnn {

// What the distances are computed from: for each text and each of its units, the rows of the
// pattern that hold the same unit (edit_distance.cpp), from the lowest bit.
struct EditLanes {
  static constexpr int64_t kTexts = 16;    // a vector of the widest kind
  static constexpr int64_t kRows = 32;     // longest pattern
  static constexpr int64_t kColumns = 64;  // longest text

  uint32_t equal[kColumns][kTexts];  // beyond the end of a text: anything
  int32_t sizes[kTexts];             // of the texts
};

// Writes the distance of each text to a pattern of `rows` units, 1 <= rows <= kRows.
void edit_distances(const EditLanes& lanes, int32_t rows, int32_t* distances);

}  // namespace crnn
