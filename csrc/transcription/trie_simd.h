// The arithmetic of trie_frames.h, per SIMD level. Columns are [padded]: a frame each, then zeros.
#pragma once

#include <cstdint>

#include "common/cpu_features.h"

namespace crnn {

constexpr int64_t kFramePad = 8;  // columns are padded to whole vectors of this many doubles

// Nodes that trie_walk() treats side by side: more than a vector has lanes, so that one vector's
// chain of dependent additions runs while another's waits.
constexpr int64_t kTrieLanes = 16;

struct TrieProduct {
  const double *source, *column;
};

// Overwrites log-emissions x [columns][padded] with exp(x - maxima), and [padded] each: the
// maximum over the columns and the sum of the exponentials. Where a maximum is -inf, the sum is 0.
#define CRNN_TRIE_EXP() \
  void trie_exp(double* x, int64_t columns, int64_t padded, double* maxima, double* sums)
// Divides each frame by its sum.
#define CRNN_TRIE_SCALE() \
  void trie_scale(double* x, int64_t columns, int64_t padded, const double* sums)
// all_t of one node, from its entry source (its parent's all or blank) and its column, both
// [padded] like `all`. Nothing enters before the frame `first`.
#define CRNN_TRIE_ADVANCE()                                                                 \
  void trie_advance(const double* source, const double* column, const double* blank_column, \
                    int64_t first, int64_t frames, int64_t padded, double* all)
// blank_t of any node but the root from its all_t: all_{t-1} y_{t-1}(blank), 0 in the first frame.
#define CRNN_TRIE_BLANK() \
  void trie_blank(const double* all, const double* blank_column, int64_t padded, double* blank)
// Replaces all_t of kTrieLanes nodes, states [frames][kTrieLanes], by that of a child of each, and
// gives all_T of these, their probabilities. `columns`: [kTrieLanes], the child's, of which up to
// kFramePad values behind the frames are read. Where `repeated` has a lane's bit, the child enters
// from its parent's blank. Up to the frame `first` all_t of the given nodes is 0.
#define CRNN_TRIE_WALK()                                                          \
  void trie_walk(double* states, const double* const* columns, uint32_t repeated, \
                 const double* blank_column, int64_t first, int64_t frames, double* totals)
// sums[i] = sum_t source_t * column_t of product i.
#define CRNN_TRIE_PRODUCTS() \
  void trie_products(const TrieProduct* products, int64_t count, int64_t padded, double* sums)
// ending_t = column_t * rest_t (trie_frames.h), from blanks_t, the product of y(blank) after t.
#define CRNN_TRIE_ENDING() \
  void trie_ending(const double* column, const double* blanks, int64_t frames, double* ending)

CRNN_DECLARE_SIMD(CRNN_TRIE_EXP())
CRNN_DECLARE_SIMD(CRNN_TRIE_SCALE())
CRNN_DECLARE_SIMD(CRNN_TRIE_ADVANCE())
CRNN_DECLARE_SIMD(CRNN_TRIE_BLANK())
CRNN_DECLARE_SIMD(CRNN_TRIE_WALK())
CRNN_DECLARE_SIMD(CRNN_TRIE_PRODUCTS())
CRNN_DECLARE_SIMD(CRNN_TRIE_ENDING())

CRNN_TRIE_EXP();
CRNN_TRIE_SCALE();
CRNN_TRIE_ADVANCE();
CRNN_TRIE_BLANK();
CRNN_TRIE_WALK();
CRNN_TRIE_PRODUCTS();
CRNN_TRIE_ENDING();

}  // namespace crnn
