// Levenshtein distance between sequences of 32-bit units: Unicode code points or class labels.
#pragma once

#include <cstdint>
#include <vector>

namespace crnn {

// A borrowed sequence of units.
struct Units {
  const uint32_t* data;
  int64_t size;
};

bool operator==(Units a, Units b);
// Lexicographic by unit, the shorter first on a tie: Python's order of strings.
bool operator<(Units a, Units b);

// The largest bound that has a meaning: no distance exceeds it.
constexpr int64_t kNoBound = INT64_MAX - 1;

// One sequence made ready for many comparisons. Row i of the dynamic programme belongs to unit i
// of the pattern; 64 rows are one machine word (Myers 1999, in the form of Hyyroe 2003).
class EditPattern {
 public:
  // Borrows `pattern`, which must outlive this object.
  explicit EditPattern(Units pattern);

  // The distance to `text` if it is at most `bound` (>= 0), else bound + 1.
  // Cost: |text| steps for patterns of at most 64 units; else about |text| * distance / 64 steps.
  int64_t distance(Units text, int64_t bound) const;

  // The same for many texts, up to 16 at a time side by side; distances: [count].
  void distances(const Units* texts, int64_t count, int64_t bound, int64_t* distances) const;

  Units pattern() const { return pattern_; }

 private:
  // For each unit that occurs in one block of 64 rows, the mask of those rows. Open addressing:
  // at most 64 keys in 128 slots; a slot with an empty mask is free.
  class MaskTable {
   public:
    void add(uint32_t unit, uint64_t row) {
      const int slot = find(unit);
      units_[slot] = unit;
      masks_[slot] |= row;
    }
    uint64_t operator[](uint32_t unit) const { return masks_[find(unit)]; }

   private:
    static constexpr int kSlotBits = 7, kSlots = 1 << kSlotBits;
    int find(uint32_t unit) const {
      int slot = static_cast<int>((unit * 2654435769u) >> (32 - kSlotBits));
      while (masks_[slot] != 0 && units_[slot] != unit) slot = (slot + 1) % kSlots;
      return slot;
    }
    uint32_t units_[kSlots] = {};
    uint64_t masks_[kSlots] = {};
  };

  static constexpr int64_t kBlockRows = 64;
  static constexpr uint32_t kDirect = 256;  // units below this have a table entry of their own

  uint64_t mask(uint32_t unit) const {
    if (unit < kDirect) return direct_[unit];
    return tables_.empty() ? 0 : tables_[0][unit];
  }
  int64_t one_block(Units text, int64_t bound) const;
  int64_t banded(Units text, int64_t bound) const;

  Units pattern_;
  uint64_t direct_[kDirect];       // patterns of one block only
  std::vector<MaskTable> tables_;  // one per block; with one block only for units >= kDirect
};

// The distance between a and b if it is at most `bound` (>= 0), else bound + 1.
int64_t edit_distance(Units a, Units b, int64_t bound = kNoBound);

}  // namespace crnn
