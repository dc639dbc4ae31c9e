// Bit-parallel edit distance.
//
// G. Myers, "A fast bit-vector algorithm for approximate string matching based on dynamic
// programming", J. ACM 46 (1999); H. Hyyroe, "A bit-vector algorithm for computing Levenshtein
// and Damerau edit distances", Nordic J. Computing 10 (2003). D[i][j] is the distance between the
// first i units of the pattern and the first j of the text. A column is held as two bit vectors:
// vp has a 1 where D[i][j] - D[i-1][j] = +1, vn where it is -1.
#include "text/edit_distance.h"

#include <algorithm>
#include <cstring>

#include "common/cpu_features.h"
#include "common/parallel.h"
#include "text/edit_lanes.h"

namespace crnn {

CRNN_DECLARE_SIMD(void edit_distances(const EditLanes& lanes, int32_t rows, int32_t* distances))

void edit_distances(const EditLanes& lanes, int32_t rows, int32_t* distances) {
  CRNN_DISPATCH(edit_distances, lanes, rows, distances);
}

bool operator==(Units a, Units b) {
  return a.size == b.size && (a.size == 0 || std::memcmp(a.data, b.data, a.size * 4) == 0);
}

bool operator<(Units a, Units b) {
  return std::lexicographical_compare(a.data, a.data + a.size, b.data, b.data + b.size);
}

namespace {

// One block of 64 rows over the columns seen so far.
struct Block {
  uint64_t vp = ~uint64_t{0}, vn = 0;
  int64_t score;  // D at the lowest row of the block
  uint64_t low;   // the bit of that row
};

// Moves a block one column on. `above` is D[top][j] - D[top][j-1] for the row above the block;
// returns the same difference for its lowest row.
int advance(Block& block, uint64_t equal, int above) {
  const uint64_t from_above = above < 0 ? 1 : 0;
  const uint64_t xv = equal | block.vn;
  equal |= from_above;
  const uint64_t xh = (((equal & block.vp) + block.vp) ^ block.vp) | equal;
  uint64_t hp = block.vn | ~(xh | block.vp);
  uint64_t hn = block.vp & xh;
  const int below = ((hp & block.low) != 0) - ((hn & block.low) != 0);
  hp = (hp << 1) | (above > 0 ? 1 : 0);
  hn = (hn << 1) | from_above;
  block.vp = hn | ~(xv | hp);
  block.vn = hp & xv;
  block.score += below;
  return below;
}

}  // namespace

EditPattern::EditPattern(Units pattern) : pattern_(pattern) {
  const int64_t m = pattern.size;
  if (m <= kBlockRows) {
    std::memset(direct_, 0, sizeof direct_);
    for (int64_t i = 0; i < m; ++i) {
      const uint32_t unit = pattern.data[i];
      if (unit < kDirect) {
        direct_[unit] |= uint64_t{1} << i;
      } else {
        if (tables_.empty()) tables_.resize(1);
        tables_[0].add(unit, uint64_t{1} << i);
      }
    }
    return;
  }
  tables_.resize((m + kBlockRows - 1) / kBlockRows);
  for (int64_t i = 0; i < m; ++i) {
    tables_[i / kBlockRows].add(pattern.data[i], uint64_t{1} << (i % kBlockRows));
  }
}

int64_t EditPattern::distance(Units text, int64_t bound) const {
  const int64_t m = pattern_.size, n = text.size;
  const int64_t gap = m > n ? m - n : n - m;
  if (gap > bound) return bound + 1;
  if (m == 0 || n == 0) return gap;
  bound = std::min(bound, std::max(m, n));
  if (m <= kBlockRows) return one_block(text, bound);
  // Widen the band until the distance fits (Ukkonen 1985): the cost follows the distance.
  for (int64_t band = std::max(gap, kBlockRows);; band *= 2) {
    band = std::min(band, bound);
    const int64_t found = banded(text, band);
    if (found <= band || band == bound) return found;
  }
}

void EditPattern::distances(const Units* texts, int64_t count, int64_t bound,
                            int64_t* distances) const {
  EditLanes lanes;
  int64_t places[EditLanes::kTexts];
  int64_t taken = 0;
  const auto compare = [&] {
    int32_t found[EditLanes::kTexts];
    for (int64_t lane = taken; lane < EditLanes::kTexts; ++lane) lanes.sizes[lane] = 0;
    edit_distances(lanes, static_cast<int32_t>(pattern_.size), found);
    for (int64_t lane = 0; lane < taken; ++lane) {
      distances[places[lane]] = std::min<int64_t>(found[lane], bound + 1);
    }
    taken = 0;
  };
  const bool short_pattern = 0 < pattern_.size && pattern_.size <= EditLanes::kRows;
  for (int64_t i = 0; i < count; ++i) {
    const Units text = texts[i];
    if (!short_pattern || text.size > EditLanes::kColumns) {
      distances[i] = distance(text, bound);
      continue;
    }
    for (int64_t j = 0; j < text.size; ++j) {
      lanes.equal[j][taken] = static_cast<uint32_t>(mask(text.data[j]));
    }
    lanes.sizes[taken] = static_cast<int32_t>(text.size);
    places[taken++] = i;
    if (taken == EditLanes::kTexts) compare();
  }
  if (taken > 0) compare();
}

int64_t EditPattern::one_block(Units text, int64_t bound) const {
  uint64_t vp = ~uint64_t{0}, vn = 0;
  const int last = static_cast<int>(pattern_.size) - 1;
  // D[m][j] falls by at most 1 per column, so `excess` = D[m][j] - (columns left) - bound never
  // falls: once above 0, the distance is above the bound.
  int64_t excess = pattern_.size - text.size - bound;
  for (int64_t j = 0; j < text.size; ++j) {
    const uint64_t equal = mask(text.data[j]);
    const uint64_t x = equal | vn;
    const uint64_t d0 = (((x & vp) + vp) ^ vp) | x;
    uint64_t hp = vn | ~(d0 | vp);
    uint64_t hn = d0 & vp;
    excess += 1 + static_cast<int64_t>((hp >> last) & 1) - static_cast<int64_t>((hn >> last) & 1);
    if (excess > 0) return bound + 1;
    hp = (hp << 1) | 1;
    hn <<= 1;
    vp = hn | ~(d0 | hp);
    vn = hp & d0;
  }
  return excess + bound;
}

// A path of cost <= bound from D[0][0] to D[m][n] keeps to the diagonals i - j in [lowest,
// highest], so only the blocks that meet them are computed. What lies outside counts as rising by
// 1 per step, which is never less than its true value: cells on such a path come out exact, all
// others too large.
int64_t EditPattern::banded(Units text, int64_t bound) const {
  const int64_t m = pattern_.size, n = text.size;
  const int64_t highest = (bound + m - n) / 2, lowest = -((bound - (m - n)) / 2);
  const int64_t count = static_cast<int64_t>(tables_.size());
  std::vector<Block> blocks;
  blocks.reserve(std::min(count, (highest - lowest) / kBlockRows + 2));
  int64_t first = 0;  // block number of blocks[begin]
  size_t begin = 0;
  int64_t until_poll = 1 << 20;
  for (int64_t j = 1; j <= n; ++j) {
    const int64_t top = (std::max<int64_t>(1, j + lowest) - 1) / kBlockRows;
    const int64_t bottom = (std::min(m, j + highest) - 1) / kBlockRows;
    while (first + static_cast<int64_t>(blocks.size() - begin) <= bottom) {
      const int64_t number = first + static_cast<int64_t>(blocks.size() - begin);
      const int64_t rows = std::min(kBlockRows, m - number * kBlockRows);
      Block block;
      block.score = (number == 0 ? 0 : blocks.back().score) + rows;
      block.low = uint64_t{1} << (rows - 1);
      if (blocks.size() == blocks.capacity() && begin > 0) {
        blocks.erase(blocks.begin(), blocks.begin() + static_cast<int64_t>(begin));
        begin = 0;
      }
      blocks.push_back(block);
    }
    begin += static_cast<size_t>(top - first);
    first = top;
    int difference = 1;
    const uint32_t unit = text.data[j - 1];
    for (size_t b = begin; b < blocks.size(); ++b) {
      const uint64_t equal = tables_[first + static_cast<int64_t>(b - begin)][unit];
      difference = advance(blocks[b], equal, difference);
    }
    until_poll -= static_cast<int64_t>(blocks.size() - begin);
    if (until_poll <= 0) {
      until_poll = 1 << 20;
      poll_interrupt();
    }
  }
  return std::min(blocks.back().score, bound + 1);
}

int64_t edit_distance(Units a, Units b, int64_t bound) {
  while (a.size > 0 && b.size > 0 && a.data[0] == b.data[0]) {
    ++a.data, --a.size, ++b.data, --b.size;
  }
  while (a.size > 0 && b.size > 0 && a.data[a.size - 1] == b.data[b.size - 1]) --a.size, --b.size;
  return a.size <= b.size ? EditPattern(a).distance(b, bound) : EditPattern(b).distance(a, bound);
}

}  // namespace crnn
