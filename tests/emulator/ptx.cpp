// The warp- and cluster-wide instructions of ptx.cuh, after the PTX manual.
#include "kernels/cuda/ptx.cuh"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>

namespace crnn {
namespace {

// ---- mma ----------------------------------------------------------------------------------------

enum class Factor { fp16, bf16, tf32 };

struct MmaOperand {
  float* d;
  uint32_t a[4], b[2];
};

// Number e of a word; tf32 has one, and its lower 13 bits are not read.
template <Factor kind>
float number(uint32_t word, int e) {
  if (kind == Factor::tf32) return __uint_as_float(word & ~0x1fffU);
  const auto bits = static_cast<uint16_t>(word >> 16 * e);
  return kind == Factor::fp16 ? to_float(Fp16{bits}) : to_float(Bf16{bits});
}

template <Factor kind>
void multiply(void* const* lanes) {
  constexpr int K = kind == Factor::tf32 ? 8 : 16, E = K / 8;
  float a[16][K], b[K][8];
  for (int lane = 0; lane < 32; ++lane) {
    const auto& x = *static_cast<const MmaOperand*>(lanes[lane]);
    const int r = lane / 4, q = lane % 4;
    for (int i = 0; i < 4; ++i) {
      for (int e = 0; e < E; ++e) {
        a[r + i % 2 * 8][q * E + i / 2 * (K / 2) + e] = number<kind>(x.a[i], e);
      }
    }
    for (int i = 0; i < 2; ++i) {
      for (int e = 0; e < E; ++e) b[q * E + i * (K / 2) + e][r] = number<kind>(x.b[i], e);
    }
  }
  for (int lane = 0; lane < 32; ++lane) {
    float* d = static_cast<MmaOperand*>(lanes[lane])->d;
    for (int i = 0; i < 4; ++i) {
      const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
      float sum = d[i];
      for (int k = 0; k < K; ++k) sum += a[row][k] * b[k][column];
      d[i] = sum;
    }
  }
}

template <Factor kind>
void mma(float (&d)[4], const FactorA& a, uint32_t b0, uint32_t b1, Place place) {
  MmaOperand own{d, {a.word[0], a.word[1], a.word[2], a.word[3]}, {b0, b1}};
  emulator::warp_operation(0xffffffffU, "mma", &own, multiply<kind>, false, place);
}

// ---- mbarriers ----------------------------------------------------------------------------------

// The 8 bytes in shared memory hold the number of the state: memory that was not initialised has
// none.
struct MbarrierState {
  int64_t arrivals = 0, pending = 0, bytes = 0, phase = 0;
  emulator::Clock clock, completed;  // of the current phase and of the one before

  void add(int64_t more_bytes, int64_t arrived, const emulator::Clock& from) {
    if (clock.size() < from.size()) clock.resize(from.size(), 0);
    for (size_t i = 0; i < from.size(); ++i) clock[i] = std::max(clock[i], from[i]);
    bytes += more_bytes;
    pending -= arrived;
    if (std::llabs(bytes) >= 1 << 20) emulator::report("an mbarrier's byte count overflows");
    if (pending < 0) emulator::report("more arrivals at an mbarrier than it was made for");
    if (pending > 0 || bytes != 0) return;
    pending = arrivals;
    ++phase;
    completed = std::move(clock);
    clock.clear();
  }
};

std::map<uint64_t, MbarrierState> mbarriers;
uint64_t made = 0;

MbarrierState& state_of(const Mbarrier* barrier) {
  const auto found = mbarriers.find(*barrier);
  if (found == mbarriers.end()) emulator::report("an mbarrier that was not initialised");
  return found->second;
}

unsigned char* resolve(ClusterAddress address) {
  return emulator::shared_memory_of((address.value >> 24) - 1) + (address.value & 0xffffff);
}

struct Store {
  unsigned char data[16];
  emulator::Clock clock;
  unsigned thread;
};

void send(ClusterAddress to, const void* data, size_t bytes, ClusterAddress barrier) {
  if (to.value >> 24 != barrier.value >> 24) {
    emulator::report("st.async and its mbarrier are in different blocks");
  }
  if (to.value % bytes != 0) emulator::report("st.async to a misaligned address");
  unsigned char* target = resolve(to);
  auto* arrives_at = reinterpret_cast<Mbarrier*>(resolve(barrier));
  emulator::check_read(arrives_at, sizeof *arrives_at);  // must not race with its initialisation
  auto store = std::make_shared<Store>();
  std::memcpy(store->data, data, bytes);
  emulator::release(store->clock);
  store->thread = emulator::thread_number();
  emulator::later([=] {
    emulator::check_write_by(store->clock, store->thread, target, bytes);
    std::memcpy(target, store->data, bytes);
    state_of(arrives_at).add(-static_cast<int64_t>(bytes), 0, store->clock);
  });
}

}  // namespace

void mma_fp16(float (&d)[4], const FactorA& a, uint32_t b0, uint32_t b1, Place place) {
  mma<Factor::fp16>(d, a, b0, b1, place);
}
void mma_bf16(float (&d)[4], const FactorA& a, uint32_t b0, uint32_t b1, Place place) {
  mma<Factor::bf16>(d, a, b0, b1, place);
}
void mma_tf32(float (&d)[4], const FactorA& a, uint32_t b0, uint32_t b1, Place place) {
  mma<Factor::tf32>(d, a, b0, b1, place);
}

ClusterAddress map_to_rank(const void* shared, uint32_t rank) {
  emulator::map_shared(shared, rank);  // reports what is not shared memory, or no such block
  const auto* own = static_cast<const unsigned char*>(shared);
  return {static_cast<uint32_t>(own - emulator::shared_memory()) | (rank + 1) << 24};
}

void mbarrier_init(Mbarrier* barrier, uint32_t arrivals) {
  if (arrivals == 0) emulator::report("an mbarrier without arrivals");
  emulator::check_write(barrier, sizeof *barrier);
  *barrier = ++made;
  MbarrierState& state = mbarriers[made];
  state.arrivals = state.pending = arrivals;
}

void mbarrier_arrive_expect(Mbarrier* barrier, uint32_t bytes) {
  emulator::check_read(barrier, sizeof *barrier);
  emulator::Clock clock;
  emulator::release(clock);
  state_of(barrier).add(bytes, 1, clock);
}

void mbarrier_wait(Mbarrier* barrier, uint32_t parity, Place place) {
  emulator::check_read(barrier, sizeof *barrier);
  MbarrierState& state = state_of(barrier);
  const auto done = [&state, parity] { return state.phase % 2 != static_cast<int64_t>(parity); };
  emulator::wait_until("an mbarrier", done, place);
  emulator::acquire(state.completed);
}

void store_async(ClusterAddress to, uint32_t word, ClusterAddress barrier) {
  send(to, &word, sizeof word, barrier);
}
void store_async(ClusterAddress to, float x, float y, float z, float w, ClusterAddress barrier) {
  const float words[4] = {x, y, z, w};
  send(to, words, sizeof words, barrier);
}

}  // namespace crnn
