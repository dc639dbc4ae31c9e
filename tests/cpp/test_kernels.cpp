// The CPU kernels of CTC and LSTM on small awkward shapes. Values are tested in Python; here the
// sanitizers watch every access, and results are compared with plain loops.
#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "check.h"
#include "kernels/ctc.h"
#include "kernels/lstm.h"
#include "transcription/label_prob.h"

using namespace crnn;

namespace {

template <class Real>
std::vector<Real> random_values(int64_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal;
  std::vector<Real> values(static_cast<size_t>(count));
  for (Real& value : values) value = static_cast<Real>(normal(random));
  return values;
}

template <class Real>
bool near(Real a, Real b, double tolerance) {
  return std::abs(static_cast<double>(a) - static_cast<double>(b)) <=
         tolerance * (1 + std::abs(static_cast<double>(b)));
}

// One batch of CTC with buffers of exactly the sizes that the contract names.
template <class Real>
void check_ctc(int64_t T, int64_t N, int64_t C, int64_t L, int64_t blank, bool from_logits,
               double tolerance) {
  std::mt19937 random(static_cast<unsigned>(T * 100 + C));
  std::vector<int64_t> targets, offsets(static_cast<size_t>(N)), lengths, target_lengths;
  for (int64_t n = 0; n < N; ++n) {
    target_lengths.push_back(n == 0 ? L : static_cast<int64_t>(random()) % (L + 1));
    lengths.push_back(n == 0 ? T : static_cast<int64_t>(random()) % (T + 1));
    for (int64_t i = 0; i < target_lengths.back(); ++i) {
      const auto symbol = static_cast<int64_t>(random() % static_cast<uint64_t>(C - 1));
      targets.push_back(symbol < blank ? symbol : symbol + 1);
    }
  }
  std::vector<Real> x = random_values<Real>(T * N * C, 1);
  std::vector<double> log_probs(x.begin(), x.end());
  for (int64_t row = 0; row < T * N; ++row) {
    double sum = 0;
    for (int64_t c = 0; c < C; ++c) sum += std::exp(log_probs[static_cast<size_t>(row * C + c)]);
    for (int64_t c = 0; c < C; ++c) {
      const auto i = static_cast<size_t>(row * C + c);
      log_probs[i] -= std::log(sum);
      if (!from_logits) x[i] = static_cast<Real>(log_probs[i]);
    }
  }
  CtcBatch<Real> batch;
  batch.dims = {T, N, C, static_cast<int64_t>(targets.size()), blank, from_logits};
  batch.x = x.data(), batch.x_t = N * C, batch.x_n = C;
  batch.targets = targets.data(), batch.offsets = offsets.data();
  batch.input_lengths = lengths.data(), batch.target_lengths = target_lengths.data();
  ctc_check(batch.dims, -1, targets.data(), lengths.data(), target_lengths.data(), offsets.data());

  std::vector<Real> row_max(static_cast<size_t>(T * N)), row_sum(row_max.size());
  std::vector<Real> posteriors(static_cast<size_t>(T * (batch.dims.targets + N)));
  std::vector<Real> losses(static_cast<size_t>(N)), dx(x.size(), Real(NAN)), grad{Real(1)};
  const CtcSaved<Real> saved{row_max.data(), row_sum.data(), posteriors.data()};
  ctc_forward(batch, losses.data(), saved, 2);
  ctc_backward(batch, losses.data(), saved, grad.data(), 0, CtcReduction::sum, true, dx.data(),
               N * C, C, 2);

  const FrameBatch frames{nullptr, log_probs.data(), T, N, C, N * C, C, 1, lengths.data()};
  for (int64_t n = 0; n < N; ++n) {
    const auto i = static_cast<size_t>(n);
    const int64_t* label = targets.data() + offsets[i];
    const std::vector<uint32_t> units(label, label + target_lengths[i]);
    const double expected =
        -LabelScorer(FrameView(frames, n), blank).log_prob({units.data(), target_lengths[i]});
    CHECK(std::isinf(expected) ? losses[i] == static_cast<Real>(INFINITY)
                               : near(static_cast<double>(losses[i]), expected, tolerance));
    for (int64_t t = 0; t < T; ++t) {
      double sum = 0;
      for (int64_t c = 0; c < C; ++c) sum += dx[static_cast<size_t>((t * N + n) * C + c)];
      CHECK(std::abs(sum) < 1e-4);  // softmax - posterior; 0 beyond the length
    }
  }
}

// sigmoid and one step of the definition, in double.
double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

struct Lstm {
  LstmDims dims;
  std::vector<int64_t> lengths;
  std::vector<float> x, w_ih[2], w_hh[2], b_ih[2], b_hh[2], h0, c0;
};

Lstm random_lstm(LstmDims dims) {
  const auto [T, N, I, H, D] = dims;
  Lstm lstm{dims, {}, random_values<float>(T * N * I, 1), {}, {}, {}, {}, {}, {}};
  for (int64_t n = 0; n < N; ++n) lstm.lengths.push_back((n * 5 + T) % (T + 1));
  for (int64_t d = 0; d < D; ++d) {
    lstm.w_ih[d] = random_values<float>(4 * H * I, 2 + static_cast<unsigned>(d));
    lstm.w_hh[d] = random_values<float>(4 * H * H, 4 + static_cast<unsigned>(d));
    lstm.b_ih[d] = random_values<float>(4 * H, 6 + static_cast<unsigned>(d));
    lstm.b_hh[d] = random_values<float>(4 * H, 8 + static_cast<unsigned>(d));
    for (float& w : lstm.w_hh[d]) w *= 0.3f;
  }
  lstm.h0 = random_values<float>(D * N * H, 10);
  lstm.c0 = random_values<float>(D * N * H, 11);
  return lstm;
}

// h_n of sample n in direction d, by the definition.
std::vector<double> last_state(const Lstm& lstm, int64_t d, int64_t n) {
  const auto [T, N, I, H, D] = lstm.dims;
  const auto at = static_cast<int64_t>((d * N + n) * H);
  std::vector<double> h(lstm.h0.begin() + at, lstm.h0.begin() + at + H);
  std::vector<double> c(lstm.c0.begin() + at, lstm.c0.begin() + at + H);
  const int64_t length = lstm.lengths[static_cast<size_t>(n)];
  for (int64_t step = 0; step < length; ++step) {
    const int64_t t = d == 0 ? step : length - 1 - step;
    std::vector<double> gates(static_cast<size_t>(4 * H));
    for (int64_t r = 0; r < 4 * H; ++r) {
      const auto row = static_cast<size_t>(r);
      double sum = lstm.b_ih[d][row] + lstm.b_hh[d][row];
      for (int64_t k = 0; k < I; ++k) {
        sum += lstm.w_ih[d][static_cast<size_t>(r * I + k)] *
               lstm.x[static_cast<size_t>((t * N + n) * I + k)];
      }
      for (int64_t k = 0; k < H; ++k) {
        sum += lstm.w_hh[d][static_cast<size_t>(r * H + k)] * h[static_cast<size_t>(k)];
      }
      gates[row] = sum;
    }
    for (int64_t u = 0; u < H; ++u) {
      const double i = gates[static_cast<size_t>(u)], f = gates[static_cast<size_t>(H + u)];
      const double g = gates[static_cast<size_t>(2 * H + u)];
      const double o = gates[static_cast<size_t>(3 * H + u)];
      double& cell = c[static_cast<size_t>(u)];
      cell = sigmoid(f) * cell + sigmoid(i) * std::tanh(g);
      h[static_cast<size_t>(u)] = sigmoid(o) * std::tanh(cell);
    }
  }
  return h;
}

void check_lstm(LstmDims dims) {
  const auto [T, N, I, H, D] = dims;
  const Lstm lstm = random_lstm(dims);
  const auto size = [](int64_t count) { return static_cast<size_t>(count); };
  std::vector<float> y(size(T * N * D * H)), h_n(size(D * N * H)), c_n(h_n.size());
  std::vector<float> gates(size(D * T * N * 4 * H)), cells(size(D * T * N * H));
  LstmForward<float> forward{};
  forward.dims = dims;
  forward.x = lstm.x.data(), forward.x_stride_t = N * I, forward.x_stride_n = I;
  forward.lengths = lstm.lengths.data();
  LstmBackward<float> backward{};
  backward.dims = dims, backward.lengths = lstm.lengths.data();
  for (int64_t d = 0; d < D; ++d) {
    forward.w_ih[d] = lstm.w_ih[d].data(), forward.w_hh[d] = lstm.w_hh[d].data();
    forward.b_ih[d] = lstm.b_ih[d].data(), forward.b_hh[d] = lstm.b_hh[d].data();
    backward.w_hh[d] = lstm.w_hh[d].data();
  }
  forward.h0 = lstm.h0.data(), forward.c0 = lstm.c0.data();
  forward.y = y.data(), forward.h_n = h_n.data(), forward.c_n = c_n.data();
  forward.gates = gates.data(), forward.cells = cells.data();
  lstm_forward(forward, 2);
  std::vector<float> y_inference(y.size(), NAN);
  forward.y = y_inference.data(), forward.gates = forward.cells = nullptr;
  lstm_forward(forward, 1);
  CHECK(y_inference == y);
  for (int64_t d = 0; d < D; ++d) {
    for (int64_t n = 0; n < N; ++n) {
      const std::vector<double> expected = last_state(lstm, d, n);
      for (int64_t u = 0; u < H; ++u) {
        const double got = h_n[size((d * N + n) * H + u)];
        CHECK(near(got, expected[size(u)], 1e-4));
      }
    }
  }

  const std::vector<float> dy(y.size(), 1.0f), none(h_n.size(), 0.0f);
  std::vector<float> dgates(gates.size(), NAN), dh0(h_n.size(), NAN), dc0(h_n.size(), NAN);
  backward.c0 = lstm.c0.data(), backward.gates = gates.data(), backward.cells = cells.data();
  backward.dy = dy.data(), backward.dh_n = none.data(), backward.dc_n = none.data();
  backward.dgates = dgates.data(), backward.dh0 = dh0.data(), backward.dc0 = dc0.data();
  lstm_backward(backward, 2);
  for (const auto* written : {&dgates, &dh0, &dc0}) {
    for (float value : *written) CHECK(std::isfinite(value));
  }
}

}  // namespace

TEST(kernels, ctc) {
  for (bool from_logits : {false, true}) {
    for (int64_t C : {2, 5, 37, 70}) {
      for (int64_t T : {1, 7, 26}) {
        for (int64_t L : {0, 1, 9, 20}) {
          check_ctc<float>(T, 3, C, L, C / 2, from_logits, 1e-5);
          check_ctc<double>(T, 3, C, L, 0, from_logits, 1e-5);
        }
      }
    }
  }
}

TEST(kernels, lstm) {
  for (int64_t H : {1, 3, 8, 17, 40}) {
    for (int64_t N : {1, 2, 7, 19}) {
      check_lstm({5, N, 3, H, 1});
      check_lstm({5, N, 11, H, 2});
    }
  }
  check_lstm({70, 9, 5, 20, 2});  // more frames than are projected ahead at once
  check_lstm({0, 2, 3, 4, 2});
  check_lstm({3, 0, 3, 4, 2});
}
