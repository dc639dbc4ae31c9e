// A checksum for files: FNV-1a over 64-bit words in four lanes. Each step is one-to-one in the
// state and in the word, so damage within one word never goes unseen.
#pragma once

#include <cstdint>
#include <cstring>

namespace crnn {

class Checksum {
 public:
  // `bytes` is a multiple of 8 but for the end of the last part.
  void add(const void* data, uint64_t bytes) {
    const char* p = static_cast<const char*>(data);
    uint64_t word;
    for (; bytes >= 32 && lane_ == 0; p += 32, bytes -= 32) {
      for (int i = 0; i < 4; ++i) {
        std::memcpy(&word, p + 8 * i, 8);
        state_[i] = (state_[i] ^ word) * kPrime;
      }
    }
    for (; bytes > 0; lane_ = (lane_ + 1) % 4) {
      const uint64_t size = bytes < 8 ? bytes : 8;
      word = 0;
      std::memcpy(&word, p, size);
      state_[lane_] = (state_[lane_] ^ word) * kPrime;
      p += size, bytes -= size;
    }
  }
  uint64_t value() const {
    uint64_t all = kStart;
    for (uint64_t state : state_) all = (all ^ state) * kPrime;
    return all;
  }

 private:
  static constexpr uint64_t kStart = 0xcbf29ce484222325u, kPrime = 0x100000001b3u;
  uint64_t state_[4] = {kStart, kStart, kStart, kStart};
  int lane_ = 0;
};

}  // namespace crnn
