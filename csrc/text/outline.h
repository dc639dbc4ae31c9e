// A cheap lower bound on the edit distance, from which units two words hold.
#pragma once

#include <cstdint>

#include "text/edit_distance.h"

namespace crnn {

// Units fall into 64 classes (unit % 64): the classes that occur at least once, and at least
// twice. Each edit removes at most one (class, how often) pair and adds at most one. So with the
// pairs of two words as sets A and B, distance >= max(|A \ B|, |B \ A|, difference in length).
struct Outline {
  uint64_t once, twice;
  uint64_t length;
};

Outline outline_of(Units word);

// Writes the numbers i in [0, count) of the outlines whose bound allows `delta` (>= 0) edits from
// `word`, in rising order, and returns how many they are. selected: room for `count`.
int64_t select_near(const Outline* outlines, int64_t count, const Outline& word, int64_t delta,
                    uint32_t* selected);

}  // namespace crnn
