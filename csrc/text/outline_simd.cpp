// The filter of outline.h, per SIMD level: vectors of outlines side by side, whose bits are counted
// by a table of half bytes (W. Mula, N. Kurz, D. Lemire, "Faster population counts using AVX2
// instructions", Computer Journal 61, 2018). No branch depends on the data.
#include <cstdint>

#include "text/outline.h"

#if defined(__AVX2__)
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // GCC 12 warns of its own header (105593)
#endif
#include <immintrin.h>
#endif

namespace crnn {
namespace CRNN_SIMD_NAMESPACE {
namespace {

constexpr uint64_t kPairs = (uint64_t{1} << 56) - 1;

bool is_near(Outline other, Outline word, int64_t delta) {
  const int64_t lacking = __builtin_popcountll(word & ~other & kPairs);
  const int64_t foreign = __builtin_popcountll(other & ~word & kPairs);
  const int64_t longer = static_cast<int64_t>(other >> 56) - static_cast<int64_t>(word >> 56);
  return (lacking <= delta) & (foreign <= delta) & (longer <= delta) & (-longer <= delta);
}

#if defined(__AVX512BW__)

constexpr int64_t kTogether = 8;
using V = __m512i;

V splat(uint64_t x) { return _mm512_set1_epi64(static_cast<int64_t>(x)); }

V bits_of(V x) {
  const V table =
      _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
  const V low = _mm512_set1_epi8(15);
  const V bytes =
      _mm512_add_epi8(_mm512_shuffle_epi8(table, _mm512_and_si512(x, low)),
                      _mm512_shuffle_epi8(table, _mm512_and_si512(_mm512_srli_epi16(x, 4), low)));
  return _mm512_sad_epu8(bytes, _mm512_setzero_si512());
}

// Bit i: outline i is near.
unsigned near_ones(const Outline* outlines, Outline word, int64_t delta) {
  const V other = _mm512_loadu_si512(outlines), pattern = splat(word), most = splat(delta);
  const V differing = _mm512_and_si512(_mm512_xor_si512(other, pattern), splat(kPairs));
  const V lacking = bits_of(_mm512_and_si512(differing, pattern));
  const V foreign = bits_of(_mm512_and_si512(differing, other));
  const V longer = _mm512_abs_epi64(
      _mm512_sub_epi64(_mm512_srli_epi64(other, 56), _mm512_srli_epi64(pattern, 56)));
  const V worst = _mm512_max_epi64(_mm512_max_epi64(lacking, foreign), longer);
  return _mm512_cmple_epi64_mask(worst, most);
}

// Writes first + i for each bit i that is set, and anything up to kTogether numbers.
int64_t write_numbers(unsigned bits, uint32_t first, uint32_t* numbers) {
  const __m256i all = _mm256_add_epi32(_mm256_set1_epi32(static_cast<int32_t>(first)),
                                       _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(numbers),
                      _mm256_maskz_compress_epi32(static_cast<__mmask8>(bits), all));
  return __builtin_popcount(bits);
}

#elif defined(__AVX2__)

constexpr int64_t kTogether = 4;
using V = __m256i;

V splat(uint64_t x) { return _mm256_set1_epi64x(static_cast<int64_t>(x)); }

V bits_of(V x) {
  const V table =
      _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
  const V low = _mm256_set1_epi8(15);
  const V bytes =
      _mm256_add_epi8(_mm256_shuffle_epi8(table, _mm256_and_si256(x, low)),
                      _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(x, 4), low)));
  return _mm256_sad_epu8(bytes, _mm256_setzero_si256());
}

// Bit i: outline i is near. Counts and lengths are below 2^31, so that halves compare as wholes.
unsigned near_ones(const Outline* outlines, Outline word, int64_t delta) {
  const V other = _mm256_loadu_si256(reinterpret_cast<const V*>(outlines));
  const V pattern = splat(word), most = splat(delta);
  const V differing = _mm256_and_si256(_mm256_xor_si256(other, pattern), splat(kPairs));
  const V lacking = bits_of(_mm256_and_si256(differing, pattern));
  const V foreign = bits_of(_mm256_and_si256(differing, other));
  const V longer = _mm256_abs_epi32(
      _mm256_sub_epi32(_mm256_srli_epi64(other, 56), _mm256_srli_epi64(pattern, 56)));
  const V worst = _mm256_max_epi32(_mm256_max_epi32(lacking, foreign), longer);
  const V far = _mm256_cmpgt_epi64(worst, most);
  return 15u & ~static_cast<unsigned>(_mm256_movemask_pd(_mm256_castsi256_pd(far)));
}

#else

constexpr int64_t kTogether = 1;

unsigned near_ones(const Outline* outlines, Outline word, int64_t delta) {
  return is_near(*outlines, word, delta);
}

#endif

#if !defined(__AVX512BW__)
int64_t write_numbers(unsigned bits, uint32_t first, uint32_t* numbers) {
  int64_t found = 0;
  for (; bits != 0; bits &= bits - 1) {
    numbers[found++] = first + static_cast<uint32_t>(__builtin_ctz(bits));
  }
  return found;
}
#endif

}  // namespace

int64_t select_near(const Outline* outlines, int64_t count, Outline word, int64_t delta,
                    uint32_t* selected) {
  int64_t found = 0, i = 0;
  for (; i + kTogether <= count; i += kTogether) {
    const unsigned near = near_ones(outlines + i, word, delta);
    found += write_numbers(near, static_cast<uint32_t>(i), selected + found);
  }
  for (; i < count; ++i) {
    selected[found] = static_cast<uint32_t>(i);
    found += is_near(outlines[i], word, delta);
  }
  return found;
}

}  // namespace CRNN_SIMD_NAMESPACE
}  // namespace crnn
