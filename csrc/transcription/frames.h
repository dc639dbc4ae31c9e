// Log-probabilities of a batch as the decoders read them: borrowed, of any strides.
#pragma once

#include <cstdint>

namespace crnn {

struct FrameBatch {
  const float* f32;   // [T, N, C], or null where f64 is given
  const double* f64;  // [T, N, C], or null where f32 is given
  int64_t T, N, C;
  int64_t stride_t, stride_n, stride_c;  // in elements
  const int64_t* lengths;  // [N], each 0..T, or null: all T; frames beyond are never read

  int64_t length(int64_t n) const { return lengths ? lengths[n] : T; }
};

// The range in which log-probabilities count as numbers: at or above it they are damage, at or
// below its negative they are probability zero (some masks use such values instead of -inf).
constexpr double kLogLimit = 1e9;

// The frames of one sample.
class FrameView {
 public:
  FrameView(const FrameBatch& batch, int64_t n)
      : f32_(batch.f32 ? batch.f32 + n * batch.stride_n : nullptr),
        f64_(batch.f64 ? batch.f64 + n * batch.stride_n : nullptr),
        stride_t_(batch.stride_t),
        stride_c_(batch.stride_c),
        frames_(batch.length(n)),
        classes_(batch.C) {}

  int64_t frames() const { return frames_; }
  int64_t classes() const { return classes_; }

  double operator()(int64_t t, int64_t c) const {
    const int64_t at = t * stride_t_ + c * stride_c_;
    return f32_ ? static_cast<double>(f32_[at]) : f64_[at];
  }

  // How many values of frame t are `least`, in their own precision, or more.
  int64_t count_from(int64_t t, double least) const {
    return f32_ ? count_of(f32_ + t * stride_t_, least) : count_of(f64_ + t * stride_t_, least);
  }

  // The class of the highest value of frame t, the lowest such class on a tie, and that value;
  // NaN as the value if the frame holds any.
  struct Best {
    int64_t label;
    double value;
  };
  Best best(int64_t t) const {
    return f32_ ? best_of(f32_ + t * stride_t_) : best_of(f64_ + t * stride_t_);
  }

 private:
  template <class Real>
  int64_t count_of(const Real* row, double least) const {
    const auto bound = static_cast<Real>(least);
    const auto classes = static_cast<int32_t>(classes_);  // of the width of a float: by vectors
    int32_t count = 0;
    if (stride_c_ == 1) {
      for (int32_t c = 0; c < classes; ++c) count += row[c] >= bound;
    } else {
      for (int32_t c = 0; c < classes; ++c) count += row[c * stride_c_] >= bound;
    }
    return count;
  }

  template <class Real>
  Best best_of(const Real* row) const {
    if (stride_c_ == 1) return best_of_dense(row);
    Real highest = row[0], damage = 0;  // damage becomes NaN with the first NaN
    int64_t label = 0;
    for (int64_t c = 0; c < classes_; ++c) {
      const Real value = row[c * stride_c_];
      damage = value == value ? damage : value;
      if (value > highest) {
        highest = value;
        label = c;
      }
    }
    return {label, static_cast<double>(damage == damage ? highest : damage)};
  }

  // The same by vectors: the value first, then where it is.
  template <class Real>
  Best best_of_dense(const Real* row) const {
    constexpr int kLanes = 8;
    Real highest[kLanes], damage[kLanes] = {};
    for (Real& lane : highest) lane = row[0];
    int64_t c = 0;
    for (; c + kLanes <= classes_; c += kLanes) {
      for (int k = 0; k < kLanes; ++k) {
        const Real value = row[c + k];
        highest[k] = value > highest[k] ? value : highest[k];
        damage[k] = value == value ? damage[k] : value;
      }
    }
    for (; c < classes_; ++c) {
      highest[0] = row[c] > highest[0] ? row[c] : highest[0];
      damage[0] = row[c] == row[c] ? damage[0] : row[c];
    }
    for (int k = 1; k < kLanes; ++k) {
      highest[0] = highest[k] > highest[0] ? highest[k] : highest[0];
      damage[0] = damage[k] == damage[k] ? damage[0] : damage[k];
    }
    if (damage[0] != damage[0]) return {0, static_cast<double>(damage[0])};
    int64_t label = 0;
    while (row[label] != highest[0]) ++label;
    return {label, static_cast<double>(highest[0])};
  }

  const float* f32_;
  const double* f64_;
  int64_t stride_t_, stride_c_, frames_, classes_;
};

}  // namespace crnn
