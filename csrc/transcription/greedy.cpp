#include "transcription/greedy.h"

#include <algorithm>
#include <cmath>
#include <sstream>

#include "common/error.h"
#include "common/parallel.h"

namespace crnn {
namespace {

constexpr int64_t kValuesPerChunk = 1 << 16;  // about 50 us of work for a thread

// A frame that cannot be read, if there is one.
struct Damage {
  int64_t frame = -1;
  double value = 0;
};

GreedyReading read(const FrameView& frames, int64_t blank, Damage& damage) {
  GreedyReading reading;
  std::vector<int64_t>& path = reading.path;
  path.reserve(static_cast<size_t>(frames.frames()));
  for (int64_t t = 0; t < frames.frames(); ++t) {
    const FrameView::Best best = frames.best(t);
    if (!(best.value < kLogLimit)) {
      damage = {t, best.value};
      return reading;
    }
    path.push_back(best.label);
    reading.log_prob += best.value;
  }
  reading.labels.reserve(path.size() / 2 + 1);  // seldom more
  reading.spans.reserve(path.size() / 2 + 1);
  collapse(path.data(), static_cast<int64_t>(path.size()), blank, reading.labels, &reading.spans);
  return reading;
}

}  // namespace

void collapse(const int64_t* path, int64_t T, int64_t blank, std::vector<int64_t>& labels,
              std::vector<Span>* spans) {
  for (int64_t begin = 0; begin < T;) {
    int64_t end = begin + 1;
    while (end < T && path[end] == path[begin]) ++end;
    if (path[begin] != blank) {
      labels.push_back(path[begin]);
      if (spans != nullptr) spans->push_back({begin, end});
    }
    begin = end;
  }
}

std::vector<GreedyReading> greedy_decode(const char* op, const FrameBatch& batch, int64_t blank,
                                         int num_threads) {
  std::vector<GreedyReading> readings(static_cast<size_t>(batch.N));
  std::vector<Damage> damages(static_cast<size_t>(batch.N));
  const int64_t grain =
      std::max<int64_t>(1, kValuesPerChunk / std::max<int64_t>(1, batch.T * batch.C));
  parallel_for(batch.N, grain, num_threads, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      const auto i = static_cast<size_t>(n);
      readings[i] = read(FrameView(batch, n), blank, damages[i]);
    }
  });
  for (size_t n = 0; n < damages.size(); ++n) {
    if (damages[n].frame < 0) continue;
    std::ostringstream got;
    const double value = damages[n].value;
    if (std::isnan(value)) {
      got << "nan";  // the stream would show its sign, which says nothing
    } else {
      got << value;
    }
    got << " in frame " << damages[n].frame << " of sample " << n;
    fail(op, "log_probs", "hold neither NaN nor values of 1e9 or more", got.str());
  }
  return readings;
}

}  // namespace crnn
