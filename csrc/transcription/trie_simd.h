// The arithmetic of trie_frames.h, per SIMD level. Columns are [padded]: a frame each, then zeros.
#pragma once

#include <cstdint>

#include "common/cpu_features.h"

namespace crnn {

constexpr int64_t kFramePad = 8;  // columns are padded to whole vectors of this many doubles

struct TrieStep {
  const double *source, *column;
  double *all, *blank;
};

// Overwrites log-emissions x [columns][padded] with exp(x - maxima), and [padded] each: the
// maximum over the columns and the sum of the exponentials. Where a maximum is -inf, the sum is 0.
#define CRNN_TRIE_EXP() \
  void trie_exp(double* x, int64_t columns, int64_t padded, double* maxima, double* sums)
// Divides each frame by its sum.
#define CRNN_TRIE_SCALE() \
  void trie_scale(double* x, int64_t columns, int64_t padded, const double* sums)
// all_t and blank_t of `count` nodes, each from its entry source (its parent's all or blank) and
// its column. A node's chain of additions is slow by itself, several of them go side by side.
// Nothing enters before the frame `first`. All arrays [padded].
#define CRNN_TRIE_ADVANCE()                                                           \
  void trie_advance(const TrieStep* steps, int64_t count, const double* blank_column, \
                    int64_t first, int64_t frames, int64_t padded)
// sums[i] = sum_t source_t * columns[column_of[units[i]]]_t, the source being `blank` where
// units[i] is `own` and `all` elsewhere.
#define CRNN_TRIE_MASSES()                                                                      \
  void trie_masses(const double* all, const double* blank, uint32_t own, const double* columns, \
                   int64_t padded, const uint32_t* units, const uint32_t* column_of,            \
                   int64_t count, double* sums)
// ending_t = column_t * rest_t (trie_frames.h), from blanks_t, the product of y(blank) after t.
#define CRNN_TRIE_ENDING() \
  void trie_ending(const double* column, const double* blanks, int64_t frames, double* ending)
#define CRNN_TRIE_DOT() double trie_dot(const double* a, const double* b, int64_t padded)

CRNN_DECLARE_SIMD(CRNN_TRIE_EXP())
CRNN_DECLARE_SIMD(CRNN_TRIE_SCALE())
CRNN_DECLARE_SIMD(CRNN_TRIE_ADVANCE())
CRNN_DECLARE_SIMD(CRNN_TRIE_MASSES())
CRNN_DECLARE_SIMD(CRNN_TRIE_ENDING())
CRNN_DECLARE_SIMD(CRNN_TRIE_DOT())

CRNN_TRIE_EXP();
CRNN_TRIE_SCALE();
CRNN_TRIE_ADVANCE();
CRNN_TRIE_MASSES();
CRNN_TRIE_ENDING();
CRNN_TRIE_DOT();

}  // namespace crnn
