// Small kernels with and without mistakes: what test_emulator.py proves the emulator by.
#include "selftest.h"

#include "kernels/cuda/launch.cuh"

namespace crnn {
namespace {

// out[b] = sum of in[b * n .. (b + 1) * n), by a tree in shared memory.
__global__ void block_sums(const float* in, float* out, int n, bool barrier, int beyond) {
  float* partial = shared_memory<float>();
  const int i = threadIdx.x, block = blockIdx.x;
  partial[i] = in[block * n + i + beyond];
  __syncthreads();
  for (int width = n / 2; width > 0; width /= 2) {
    if (i < width) partial[i] += partial[i + width];
    if (barrier) __syncthreads();
  }
  if (i == 0) out[block] = partial[0];
}

__global__ void warp_sum(const float* in, float* out, unsigned mask) {
  float sum = in[threadIdx.x];
  if ((mask >> threadIdx.x & 1) == 0) return;
  for (int distance = 16; distance > 0; distance /= 2) {
    sum += __shfl_xor_sync(0xffffffffU, sum, distance);
  }
  if (threadIdx.x == 0) *out = sum;
}

__global__ void half_waits(float* out) {
  if (threadIdx.x % 2 == 0) {
    __syncthreads();
  } else {
    __syncwarp();  // never met by the others
  }
  out[threadIdx.x] = 1;
}

__global__ void two_barriers(float* out) {
  if (threadIdx.x % 2 == 0) {
    __syncthreads();
  } else {
    __syncthreads();
  }
  out[threadIdx.x] = 1;
}

__global__ void reads_unwritten(float* out) {
  const float* never = shared_memory<float>();
  out[threadIdx.x] = never[threadIdx.x];
}

__global__ void skips_one(float* out) {
  if (threadIdx.x != 5) out[threadIdx.x] = 1;
}

__global__ void writes_input(const float* in, float* out) {
  const_cast<float*>(in)[threadIdx.x] = 0;
  out[threadIdx.x] = 0;
}

__global__ void misaligned(float* out) { reinterpret_cast<double*>(out + 1)[threadIdx.x] = 0; }

__global__ void blocks_collide(float* out) { out[threadIdx.x] = 1; }

// Each block counts itself; the last one to come sees what all the others wrote.
__global__ void last_block(float* out, unsigned* counter) {
  out[1 + blockIdx.x] = 1.0f + blockIdx.x;
  __threadfence();
  if (atomicAdd(counter, 1U) + 1 < gridDim.x) return;
  float sum = 0;
  for (unsigned b = 0; b < gridDim.x; ++b) sum += out[1 + b];
  *out = sum;
}

}  // namespace

void selftest(const std::string& name, const float* in, float* out, unsigned* counter, int n) {
  LaunchShape one{{1}, {static_cast<unsigned>(n)}};
  const auto bytes = static_cast<size_t>(n) * sizeof(float);
  LaunchShape three{{3}, {static_cast<unsigned>(n)}, bytes};
  one.shared_bytes = bytes;
  if (name == "block_sums") {
    launch("selftest", block_sums, three, in, out, n, true, 0);
  } else if (name == "no barrier") {
    launch("selftest", block_sums, three, in, out, n, false, 0);
  } else if (name == "beyond") {
    launch("selftest", block_sums, three, in, out, n, true, 1);
  } else if (name == "before") {
    launch("selftest", block_sums, three, in, out, n, true, -1);
  } else if (name == "shared memory too small") {
    three.shared_bytes -= 4;
    launch("selftest", block_sums, three, in, out, n, true, 0);
  } else if (name == "warp_sum") {
    launch("selftest", warp_sum, one, in, out, 0xffffffffU);
  } else if (name == "lane missing") {
    launch("selftest", warp_sum, one, in, out, 0xfffffff7U);
  } else if (name == "half waits") {
    launch("selftest", half_waits, one, out);
  } else if (name == "two barriers") {
    launch("selftest", two_barriers, one, out);
  } else if (name == "reads unwritten") {
    launch("selftest", reads_unwritten, one, out);
  } else if (name == "skips one") {
    launch("selftest", skips_one, one, out);
  } else if (name == "writes input") {
    launch("selftest", writes_input, one, in, out);
  } else if (name == "misaligned") {
    launch("selftest", misaligned, LaunchShape{{1}, {4}}, out);
  } else if (name == "blocks collide") {
    launch("selftest", blocks_collide, three, out);
  } else if (name == "last block") {
    launch("selftest", last_block, LaunchShape{{5}, {1}}, out, counter);
  } else if (name == "too many threads") {
    launch("selftest", blocks_collide, LaunchShape{{1}, {2048}}, out);
  } else if (name == "too much shared memory") {
    one.shared_bytes = size_t(1) << 20;
    launch("selftest", blocks_collide, one, out);
  } else if (name == "empty grid") {
    launch("selftest", blocks_collide, LaunchShape{{0}, {32}}, out);
  } else {
    throw CudaError("no such kernel");
  }
}

}  // namespace crnn
