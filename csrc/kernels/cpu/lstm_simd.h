// The parts of the float LSTM that are compiled per SIMD level, between lstm.cpp (which owns the
// scratch and the threads) and lstm_forward.cpp, lstm_backward.cpp.
//
// Packed weights. A product of rows a[K] with a matrix is computed for one panel of 4*lanes
// columns at a time, panels[p][k][4][lanes] holding the matrix, zero beyond its last column:
//   gates:      panel p, vector q, lane l is gate q of unit p*lanes + l (K = I or H)
//   transposed: panel p, vector q, lane l is unit (p*4 + q)*lanes + l   (K = 4H, for dh)
// so a forward panel ends up with all four gates of its units in registers.
#pragma once

#include "common/cpu_features.h"
#include "kernels/lstm.h"

namespace crnn {

// Samples of one direction that one thread takes through all frames.
struct LstmItem {
  int64_t direction;
  const int64_t* samples;  // [count], by descending length
  int64_t count;
  // Forward only. The input projection runs `steps` frames ahead of the recurrence, so that its
  // result is still in the cache.
  int64_t steps;
  int64_t* rows;   // scratch [steps * count]
  float* columns;  // scratch [I, rows rounded up to 16] to pack x into, null: panels_ih is given
  float* gates;    // scratch [steps, count, 4H] in place of LstmForward::gates, null: use that
};

// Floats that hold a packed matrix at every level (lanes <= 16).
constexpr int64_t lstm_gate_panels_size(int64_t H, int64_t K) { return (H + 15) / 16 * 64 * K; }
constexpr int64_t lstm_transposed_panels_size(int64_t H) { return (H + 63) / 64 * 64 * 4 * H; }

// clang-format off
CRNN_DECLARE_SIMD(
  // w [4H, K] -> panels; units [unit_begin, unit_end), unit_begin a multiple of 16.
  void lstm_pack_gates(const float* w, int64_t H, int64_t K, int64_t unit_begin, int64_t unit_end,
                       float* panels);
  // w_hh [4H, H] -> transposed panels.
  void lstm_pack_transposed(const float* w_hh, int64_t H, float* panels);
  // panels of w_ih (unless item.columns is set) and w_hh; bias packed as gate panels with K = 1.
  void lstm_forward_item(const LstmForward<float>& args, const LstmItem& item,
                         const float* panels_ih, const float* panels_hh, const float* bias);
  void lstm_backward_item(const LstmBackward<float>& args, const LstmItem& item,
                       const float* panels_transposed))
// clang-format on

}  // namespace crnn
