// Probabilities that neither underflow nor overflow, however many are multiplied.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "transcription/frames.h"

namespace crnn {

// mantissa * 2^(512 exponent), mantissa 0 or in [2^-256, 2^256): the exponent changes so rarely
// that sums and products cost little more than those of doubles.
struct Wide {
  static constexpr double kUp = 0x1p512, kDown = 0x1p-512, kHigh = 0x1p256, kLow = 0x1p-256;
  static constexpr double kLogUp = 512 * 0.693147180559945309417232121458;  // ln 2^512

  double mantissa = 0;
  int64_t exponent = 0;

  static Wide from_log(double x) {
    if (x > -kLogUp / 4 && x < kLogUp / 4) return {std::exp(x), 0};  // as below, sooner
    if (x <= -kLogLimit) return {};
    const double exponent = std::floor(x / kLogUp + 0.5);
    return {std::exp(x - exponent * kLogUp), static_cast<int64_t>(exponent)};
  }

  double log() const {
    if (mantissa == 0) return -std::numeric_limits<double>::infinity();
    return std::log(mantissa) + static_cast<double>(exponent) * kLogUp;
  }

  friend Wide operator+(Wide a, Wide b) {
    if (a.exponent == b.exponent) return {a.mantissa + b.mantissa, a.exponent};
    if (a.mantissa == 0) return b;
    if (b.mantissa == 0) return a;
    if (a.exponent < b.exponent) std::swap(a, b);
    // Two exponents apart, the smaller is below 2^-512 of the larger.
    if (a.exponent == b.exponent + 1) a.mantissa += b.mantissa * kDown;
    return a;
  }

  friend Wide operator*(Wide a, Wide b) {
    Wide product{a.mantissa * b.mantissa, a.exponent + b.exponent};
    if (product.mantissa < kLow && product.mantissa != 0) {
      product.mantissa *= kUp;
      --product.exponent;
    } else if (product.mantissa >= kHigh) {
      product.mantissa *= kDown;
      ++product.exponent;
    }
    return product;
  }

  // a / b as a double, for b above zero and a not far beyond it.
  friend double operator/(Wide a, Wide b) {
    const double quotient = a.mantissa / b.mantissa;
    if (a.exponent == b.exponent) return quotient;
    if (a.exponent + 1 == b.exponent) return quotient * kDown;
    return a.exponent == b.exponent + 1 ? quotient * kUp : 0;
  }
};

// The probabilities of one sample's frames, a class at a time.
class Emissions {
 public:
  explicit Emissions(const FrameView& frames)
      : frames_(frames),
        columns_(static_cast<size_t>(frames.classes())),
        plain_(columns_.size(), true) {}

  // [frames], computed when the class is first asked for; valid as long as this object.
  const Wide* column(int64_t label) {
    std::vector<Wide>& column = columns_[static_cast<size_t>(label)];
    if (column.empty()) compute(label, column);
    return column.data();
  }

  // Whether all of a column that was asked for are doubles in [0, 1].
  bool plain(int64_t label) const { return plain_[static_cast<size_t>(label)]; }

 private:
  void compute(int64_t label, std::vector<Wide>& column) {
    column.resize(static_cast<size_t>(frames_.frames()));
    bool plain = true;
    for (int64_t t = 0; t < frames_.frames(); ++t) {
      const Wide value = Wide::from_log(frames_(t, label));
      plain = plain && value.exponent == 0 && value.mantissa <= 1;
      column[static_cast<size_t>(t)] = value;
    }
    plain_[static_cast<size_t>(label)] = plain;
  }

  FrameView frames_;
  std::vector<std::vector<Wide>> columns_;  // [C][frames], empty until asked for
  std::vector<char> plain_;                 // [C]
};

}  // namespace crnn
