// Every instruction that C++ has no word for, one function each.
// tests/emulator/include/kernels/cuda/ptx.cuh has the same functions for the CPU.
//
// Instructions of clusters exist from sm_90 on; in code for older chips they trap.
#pragma once

#include <cstdint>

namespace crnn {

// ---- numbers of 16 bits ------------------------------------------------------------------------

struct Fp16 {
  uint16_t bits;
};
struct Bf16 {
  uint16_t bits;
};

__device__ __forceinline__ float to_float(Fp16 x) {
  float y;
  asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
  return y;
}
__device__ __forceinline__ float to_float(Bf16 x) {
  return __uint_as_float(static_cast<uint32_t>(x.bits) << 16);
}

// To the nearest, ties to even; NaN stays NaN.
__device__ __forceinline__ Fp16 to_fp16(float x) {
  Fp16 y;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
  return y;
}
__device__ __forceinline__ Bf16 to_bf16(float x) {
  Bf16 y;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
  return y;
}

// Two numbers in a word, `low` in its lower half.
__device__ __forceinline__ uint32_t pack_fp16(float low, float high) {
  uint32_t y;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(high), "f"(low));
  return y;
}
__device__ __forceinline__ uint32_t pack_bf16(float low, float high) {
  uint32_t y;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(high), "f"(low));
  return y;
}

// float32 with a fraction of 10 bits, to the nearest, ties away from zero: a factor of mma_tf32.
__device__ __forceinline__ uint32_t to_tf32(float x) {
  uint32_t y;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(y) : "f"(x));
  return y;
}

// tanh to a relative error of 2^-11.
__device__ __forceinline__ float tanh_approx(float x) {
  float y;
  asm("tanh.approx.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// ---- tensor cores -------------------------------------------------------------------------------
//
// d [16 rows, 8 columns] += a [16, K] b [K, 8] by a warp, K = 16 (16-bit factors) or 8 (tf32).
// With r = lane / 4, q = lane % 4 and E = K / 8 factors per word, a lane holds
//   a: word 0 = (row r, k from qE), 1 = (r + 8, qE), 2 = (r, qE + K/2), 3 = (r + 8, qE + K/2)
//   b: word 0 = (k from qE, column r), 1 = (qE + K/2, column r)
//   d: 0, 1 = (row r, columns 2q, 2q + 1), 2, 3 = (row r + 8, the same columns)

struct FactorA {
  uint32_t word[4];
};

// volatile: all lanes must take part, so the compiler may not move it into a branch.

#define CRNN_MMA(name, shape, type)                                                         \
  __device__ __forceinline__ void name(float (&d)[4], const FactorA& a, uint32_t b0,        \
                                       uint32_t b1) {                                       \
    asm volatile("mma.sync.aligned." shape ".row.col.f32." type "." type                    \
                 ".f32 "                                                                    \
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"          \
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])                           \
                 : "r"(a.word[0]), "r"(a.word[1]), "r"(a.word[2]), "r"(a.word[3]), "r"(b0), \
                   "r"(b1));                                                                \
  }
CRNN_MMA(mma_fp16, "m16n8k16", "f16")
CRNN_MMA(mma_bf16, "m16n8k16", "bf16")
CRNN_MMA(mma_tf32, "m16n8k8", "tf32")
#undef CRNN_MMA

// ---- clusters -----------------------------------------------------------------------------------

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
#define CRNN_SM_90(...)  \
  asm volatile("trap;"); \
  __builtin_unreachable();
#else
#define CRNN_SM_90(...) __VA_ARGS__
#endif

// An address in the shared memory of any block of the cluster.
struct ClusterAddress {
  uint32_t value;
};
__device__ __forceinline__ ClusterAddress operator+(ClusterAddress address, uint32_t bytes) {
  return {address.value + bytes};
}

__device__ __forceinline__ uint32_t local_address(const void* shared) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(shared));
}

// The rank of this block in its cluster.
__device__ __forceinline__ uint32_t cluster_rank() {
  CRNN_SM_90(uint32_t rank; asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank)); return rank;)
}

// Where block `rank` keeps what this block has at `shared`.
__device__ __forceinline__ ClusterAddress map_to_rank(const void* shared, uint32_t rank) {
  CRNN_SM_90(ClusterAddress there; asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(
                                           there.value) : "r"(local_address(shared)),
                                       "r"(rank));
             return there;)
}

// A barrier of all threads of the cluster in two halves; orders all their memory accesses.
__device__ __forceinline__ void cluster_arrive() {
  CRNN_SM_90(asm volatile("barrier.cluster.arrive.release;" :: : "memory");)
}
__device__ __forceinline__ void cluster_wait() {
  CRNN_SM_90(asm volatile("barrier.cluster.wait.acquire;" :: : "memory");)
}

// ---- mbarriers: a phase ends when all arrivals and all announced bytes are there ----------------

using Mbarrier = uint64_t;  // in shared memory

__device__ __forceinline__ void mbarrier_init(Mbarrier* barrier, uint32_t arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(local_address(barrier)),
               "r"(arrivals)
               : "memory");
}
// Makes mbarrier_init visible to the cluster; a barrier of the cluster must follow.
__device__ __forceinline__ void mbarrier_init_fence() {
  CRNN_SM_90(asm volatile("fence.mbarrier_init.release.cluster;" :: : "memory");)
}
// One arrival, which announces `bytes` for the current phase.
__device__ __forceinline__ void mbarrier_arrive_expect(Mbarrier* barrier, uint32_t bytes) {
  CRNN_SM_90(asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(
                              local_address(barrier)),
                          "r"(bytes) : "memory");)
}
// Waits for the end of the phase of this parity: 0 for the first phase, then in turns.
// The default semantics (acquire, this block) cover what st.async wrote before completing the
// phase; a wider scope would invalidate the L1 cache at every call.
__device__ __forceinline__ void mbarrier_wait(Mbarrier* barrier, uint32_t parity) {
  CRNN_SM_90(uint32_t done; do {
    asm volatile(
        "{\n .reg .pred p;\n mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
        " selp.u32 %0, 1, 0, p;\n}"
        : "=r"(done)
        : "r"(local_address(barrier)), "r"(parity)
        : "memory");
  } while (done == 0);)
}

// Stores without waiting; `barrier`, in the same block as `to`, gets the bytes when they are there.
__device__ __forceinline__ void store_async(ClusterAddress to, uint32_t word,
                                            ClusterAddress barrier) {
  CRNN_SM_90(asm volatile(
                 "st.async.shared::cluster.mbarrier::complete_tx::bytes.b32 [%0], %1, [%2];" ::"r"(
                     to.value),
                 "r"(word), "r"(barrier.value) : "memory");)
}
__device__ __forceinline__ void store_async(ClusterAddress to, float x, float y, float z, float w,
                                            ClusterAddress barrier) {
  CRNN_SM_90(asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.v4.f32 [%0], {%1, "
                          "%2, %3, %4}, [%5];" ::"r"(to.value),
                          "f"(x), "f"(y), "f"(z), "f"(w), "r"(barrier.value) : "memory");)
}

#undef CRNN_SM_90

}  // namespace crnn
