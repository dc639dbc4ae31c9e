// A cheap lower bound on the edit distance, from which units two words hold.
#pragma once

#include <cstdint>

#include "text/edit_distance.h"

namespace crnn {

// Units fall into 32 classes (unit % 32). From the lowest bit: the 32 classes that occur at least
// once, 24 of them that occur at least twice, and the length up to 255. Each edit removes at most
// one (class, how often) pair and adds at most one. So with the pairs of two words as sets A and
// B, distance >= max(|A \ B|, |B \ A|, difference in length).
using Outline = uint64_t;

Outline outline_of(Units word);

// Writes the numbers i in [0, count) of the outlines whose bound allows `delta` (>= 0) edits from
// `word`, in rising order, and returns how many they are. selected: room for `count`.
int64_t select_near(const Outline* outlines, int64_t count, Outline word, int64_t delta,
                    uint32_t* selected);

}  // namespace crnn
