#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <vector>

#include "batch.h"
#include "check.h"
#include "transcription/alignment.h"
#include "transcription/greedy.h"
#include "transcription/label_prob.h"

using namespace crnn;

namespace {

// p(l | y) of every label of sample n, over all C^T paths.
std::map<std::vector<int64_t>, double> enumerate(Batch& batch, int64_t n, int64_t blank) {
  std::map<std::vector<int64_t>, double> totals;
  const int64_t T = batch.lengths[static_cast<size_t>(n)];
  std::vector<int64_t> path(static_cast<size_t>(T), 0);
  for (;;) {
    double log_prob = 0;
    for (int64_t t = 0; t < T; ++t) log_prob += batch.at(t, n, path[static_cast<size_t>(t)]);
    std::vector<int64_t> label;
    collapse(path.data(), T, blank, label, nullptr);
    totals[label] += std::exp(log_prob);
    int64_t t = 0;
    while (t < T && ++path[static_cast<size_t>(t)] == batch.C) path[static_cast<size_t>(t++)] = 0;
    if (t == T) return totals;
  }
}

}  // namespace

TEST(transcription, collapse_drops_repeats_then_blanks) {
  const std::vector<int64_t> path{0, 1, 1, 0, 1, 2, 2, 0};
  std::vector<int64_t> labels;
  std::vector<Span> spans;
  collapse(path.data(), 8, 0, labels, &spans);
  CHECK(labels == (std::vector<int64_t>{1, 1, 2}));
  CHECK_EQUAL(spans.size(), 3u);
  CHECK(spans[0].begin == 1 && spans[0].end == 3 && spans[2].begin == 5 && spans[2].end == 7);
}

TEST(transcription, greedy_reads_each_sample_within_its_length) {
  Batch batch(7, 5, 4, 1);
  batch.lengths = {7, 0, 3, 1, 6};
  for (int64_t n = 0; n < batch.N; ++n) {
    for (int64_t t = batch.lengths[static_cast<size_t>(n)]; t < batch.T; ++t) {
      for (int64_t c = 0; c < batch.C; ++c) batch.at(t, n, c) = std::nan("");
    }
  }
  const std::vector<GreedyReading> readings = greedy_decode("op", batch.view(), 0, 2);
  CHECK_EQUAL(readings.size(), 5u);
  CHECK(readings[1].labels.empty() && readings[1].log_prob == 0);
  for (const GreedyReading& reading : readings) {
    CHECK_EQUAL(reading.labels.size(), reading.spans.size());
    CHECK(reading.log_prob <= 0);
  }
}

TEST(transcription, damage_is_reported_for_the_first_sample) {
  Batch batch(3, 4, 2, 2);
  batch.at(2, 3, 0) = std::nan("");
  batch.at(1, 2, 1) = std::numeric_limits<double>::infinity();
  for (int threads : {1, 3}) {
    CHECK_EQUAL(THROWN(std::invalid_argument, greedy_decode("op", batch.view(), 0, threads)),
                "op: log_probs must hold neither NaN nor values of 1e9 or more, "
                "got inf in frame 1 of sample 2");
  }
}

TEST(transcription, label_probability_equals_enumeration) {
  for (int64_t blank : {0, 2}) {
    Batch batch(5, 3, 3, 3);
    batch.lengths = {5, 1, 4};
    for (int64_t n = 0; n < batch.N; ++n) {
      LabelScorer scorer(FrameView(batch.view(), n), blank);
      for (const auto& [label, p] : enumerate(batch, n, blank)) {
        const std::vector<uint32_t> units(label.begin(), label.end());
        const double got = scorer.log_prob({units.data(), static_cast<int64_t>(units.size())});
        CHECK(std::abs(got - std::log(p)) < 1e-12);
      }
      const std::vector<uint32_t> too_long(6, static_cast<uint32_t>(1));
      CHECK(std::isinf(scorer.log_prob({too_long.data(), 6})));
    }
  }
}

TEST(transcription, label_probabilities_far_below_the_range_of_a_double) {
  Batch batch(40, 1, 3, 4);
  for (double& v : batch.values) v *= 1000;
  const WordList labels = list({{}, {1}, {1, 1, 2, 2}, std::vector<uint32_t>(20, 1)});
  std::vector<double> got(4);
  label_log_probs(batch.view(), labels, 0, 2, got.data());
  for (double value : got) CHECK(std::isfinite(value) && value < -1000);
}

TEST(transcription, alignment_holds_every_frame_once) {
  Batch batch(9, 4, 5, 6);
  batch.lengths = {9, 0, 4, 7};
  const WordList labels = list({{1, 1, 2}, {}, {3, 4, 3, 4}, {}});
  std::vector<double> gamma(7 * 9 + 9 * 4 + 7);
  const std::vector<LabelAlignment> results = align(batch.view(), labels, 0, 3, gamma.data());
  const double* part = gamma.data();
  for (int64_t n = 0; n < batch.N; ++n) {
    const int64_t U = 2 * labels[n].size + 1, T = batch.lengths[static_cast<size_t>(n)];
    for (int64_t t = 0; t < T; ++t) {
      double sum = 0;
      for (int64_t u = 0; u < U; ++u) sum += part[u * T + t];
      CHECK(std::abs(sum - 1) < 1e-12);
    }
    part += U * T;
    const LabelAlignment& result = results[static_cast<size_t>(n)];
    CHECK(result.path_log_prob <= result.log_prob && std::isfinite(result.path_log_prob));
    CHECK_EQUAL(result.spans.size(), static_cast<size_t>(labels[n].size));
  }
}

TEST(transcription, replacements_equal_the_label_with_each_symbol) {
  Batch batch(6, 3, 4, 7);
  batch.lengths = {6, 3, 0};
  const WordList labels = list({{1, 3, 1}, {2, 2}, {1}});
  std::vector<double> got(6 * 4);
  replacement_log_probs(batch.view(), labels, 0, 2, got.data());
  size_t at = 0;
  for (int64_t n = 0; n < batch.N; ++n) {
    LabelScorer scorer(FrameView(batch.view(), n), 0);
    for (int64_t i = 0; i < labels[n].size; ++i) {
      for (uint32_t c = 0; c < 4; ++c) {
        std::vector<uint32_t> label(labels[n].data, labels[n].data + labels[n].size);
        if (c == 0) label.erase(label.begin() + i);
        if (c != 0) label[static_cast<size_t>(i)] = c;
        const double p = scorer.log_prob({label.data(), static_cast<int64_t>(label.size())});
        CHECK(p == got[at] || std::abs(p - got[at]) < 1e-12);
        ++at;
      }
    }
  }
}
