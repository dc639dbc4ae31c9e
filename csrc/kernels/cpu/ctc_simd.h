// What ctc.cpp calls in the files that are compiled once per SIMD level.
#pragma once

#include "common/cpu_features.h"
#include "kernels/ctc.h"

namespace crnn {

// States are padded to whole 64-byte vectors, the widest of any level, so that scratch has one
// layout for all levels. Static functions: each SIMD file must keep its own copy.
template <class Real>
static constexpr int64_t ctc_padded_states(int64_t label_length) {
  constexpr int64_t lanes = 64 / sizeof(Real);
  return (label_length + 1 + lanes - 1) / lanes * lanes;
}

// Frames whose emissions are computed together, so that they are still in the cache when used.
constexpr int64_t kCtcEmitFrames = 16;

// Room for the emissions of all frames (or of those computed together), one after the other. Whole
// vectors are loaded from the symbols of any frame.
template <class Real>
static constexpr int64_t ctc_padded_emissions(int64_t frames, int64_t label_length, bool all) {
  constexpr int64_t lanes = 64 / sizeof(Real);
  if (!all && frames > kCtcEmitFrames) frames = kCtcEmitFrames;
  return (frames * (label_length + 1) + 2 * lanes) / lanes * lanes;
}

// Bytes of scratch of one sample in the recursion, for Real as wide as its exponent; see
// ctc_recursion.cpp for the layout. Rows of alpha are kept only if posteriors are wanted.
template <class Real>
static constexpr int64_t ctc_scratch_bytes(int64_t frames, int64_t label_length, bool posteriors) {
  const int64_t rows = 4 * (posteriors ? frames + 1 : 2) + 7;
  return sizeof(Real) * (ctc_padded_states<Real>(label_length) * rows +
                         2 * ctc_padded_emissions<Real>(frames, label_length, posteriors));
}

// Rows [begin, end) of the T*N rows; row = t*N + n. Writes row_shift and row_sum (from logits) and
// gathers the label's x into emissions, laid out as CtcSaved::posteriors: blank, then symbols.
#define CRNN_CTC_GATHER_ROWS(Real)                                                  \
  void ctc_gather_rows(const CtcBatch<Real>& batch, Real* row_shift, Real* row_sum, \
                       Real* emissions, int64_t begin, int64_t end)

// Loss of sample n from its emissions; overwrites them with posteriors if want_posteriors.
#define CRNN_CTC_RECURSION(Real)                                                      \
  double ctc_recursion(const CtcBatch<Real>& batch, int64_t n, const Real* row_shift, \
                       const Real* row_sum, Real* emissions, bool want_posteriors, void* scratch)

// Rows [begin, end) of dx. weights: [N], gradient of the final loss with respect to losses[n].
#define CRNN_CTC_GRADIENT_ROWS(Real)                                                               \
  void ctc_gradient_rows(const CtcBatch<Real>& batch, const CtcSaved<Real>& saved,                 \
                         const Real* weights, Real* dx, int64_t dx_t, int64_t dx_n, int64_t begin, \
                         int64_t end)

CRNN_DECLARE_SIMD(CRNN_CTC_GATHER_ROWS(float))
CRNN_DECLARE_SIMD(CRNN_CTC_GATHER_ROWS(double))
CRNN_DECLARE_SIMD(CRNN_CTC_RECURSION(float))
CRNN_DECLARE_SIMD(CRNN_CTC_RECURSION(double))
CRNN_DECLARE_SIMD(CRNN_CTC_GRADIENT_ROWS(float))
CRNN_DECLARE_SIMD(CRNN_CTC_GRADIENT_ROWS(double))

}  // namespace crnn
