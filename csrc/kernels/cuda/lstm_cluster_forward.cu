// The LSTM recurrence, forward, in one launch: H = 256, sm_90.
//
//   a = gates_t + b_ih + b_hh + h_{t-1} w_hh^T;  c = f c + i g;  h = o tanh(c)
//
// Pointers: LstmCudaForward. A cluster of kBlocks blocks owns 16 samples of one direction for all
// frames; clusters know nothing of each other. Each block owns 256 / kBlocks units and keeps its
// rows of w_hh in registers: they are read once per launch.
//
// Per step: wait until h of all 256 units is in shared memory; multiply (rows: samples, columns:
// gates); update the cells; send the new h to all blocks of the cluster by st.async, which counts
// its bytes on an mbarrier of the receiver. No other barrier is in the loop. Two buffers suffice:
// h_t is complete only when every warp of the cluster has sent its part, that is, when it has read
// all of h_{t-1}, whose buffer h_{t+1} overwrites. A block leaves only when it has received all
// that is sent to it, and the cluster's last barrier keeps shared memory alive until all have.
//
// Column c of tile p holds gate 2 (p % 2) + c % 2 of unit (c / 2) kUnits + p / 2 of the warp, so
// that a lane gets all gates of one word of units, for two samples: the cell update needs no
// shuffle. Deterministic: every sum has a fixed order, which does not depend on the batch.
#include "kernels/cuda/lstm_cluster.cuh"

namespace crnn {
namespace {

template <class Element, int kBlocks>
struct ForwardShape : ClusterShape<Element, kBlocks> {
  static constexpr int kTiles = 2 * Element::kUnits;  // of 8 columns, per warp
  static constexpr int kSplit = 8 / kTiles;  // sums per tile: 8 chains of mma hide its latency
  static constexpr int kRowBytes = kClusterUnits * sizeof(typename Element::Scalar);
  static constexpr int kChunks = kRowBytes / kChunkBytes;
  static constexpr int kStride = kRowBytes + kChunkBytes;  // of a row in shared memory
  static_assert(kRowBytes % 128 == 0, "see lstm_cluster.cuh");
};

template <class Shape>
struct ForwardShared {
  Mbarrier barriers[2];
  alignas(128) unsigned char h[2][kClusterSamples][Shape::kStride];
};

// The rows of w_hh for this warp's units, as factors b.
template <class Element, class Shape>
__device__ __forceinline__ void load_weights(const void* w_hh, int64_t warp_unit,
                                             Words (&w)[Shape::kTiles][Shape::kChunks]) {
  const int r = threadIdx.x % 32 / 4, q = threadIdx.x % 4;
#pragma unroll
  for (int p = 0; p < Shape::kTiles; ++p) {
    const int64_t gate = 2 * (p % 2) + r % 2, unit = warp_unit + r / 2 * Element::kUnits + p / 2;
    const int64_t row = (gate * kClusterUnits + unit) * Shape::kRowBytes;
#pragma unroll
    for (int j = 0; j < Shape::kChunks; ++j) {
      w[p][j] = load<Words>(w_hh, row + j * kChunkBytes + q * 16);
#pragma unroll
      for (uint32_t& word : w[p][j].word) word = Element::factor(word);
    }
  }
}

// What a lane knows of its place; bytes count from the start of a tensor.
template <class Element, int kBlocks>
struct ForwardLane {
  using Shape = ForwardShape<Element, kBlocks>;
  using Scalar = typename Element::Scalar;
  static constexpr int U = Element::kUnits;
  static constexpr int64_t H = kClusterUnits;

  ClusterTile tile;
  int64_t unit;       // the first of its word
  int64_t length[2];  // of samples r and r + 8; 0 beyond the batch
  uint32_t h[2];      // its word of h of both
  float c[2][U], bias[U][4];
  ClusterAddress
      peers[kBlocks];  // shared memory of each block; the first differs from block to block

  __device__ __forceinline__ ForwardLane(const LstmCudaForward& a, ForwardShared<Shape>& shared)
      : tile(a.dims, a.lengths, kBlocks) {
    const uint32_t rank = cluster_rank();
    unit = warp_unit(rank) + threadIdx.x % 4 * U;
#pragma unroll
    for (int m = 0; m < 2; ++m) {
      const int64_t row = threadIdx.x % 32 / 4 + 8 * m;
      length[m] = row < tile.rows ? length_of(a.lengths, tile.n0 + row, a.dims.T) : 0;
      h[m] = 0;
#pragma unroll
      for (float& x : c[m]) x = 0;
      if (row >= tile.rows) continue;
      const int64_t state = ((tile.d * a.dims.N + tile.n0 + row) * H + unit) * sizeof(Scalar);
      h[m] = load<uint32_t>(a.h0, state);
      Element::unpack(load<uint32_t>(a.c0, state), c[m]);
    }
#pragma unroll
    for (int i = 0; i < U * 4; ++i) {
      bias[i / 4][i % 4] = 0;
      if (a.b_ih[tile.d] == nullptr) continue;
      const int64_t at = i % 4 * H + unit + i / 4;
      bias[i / 4][i % 4] = to_state(static_cast<const Scalar*>(a.b_ih[tile.d])[at]) +
                           to_state(static_cast<const Scalar*>(a.b_hh[tile.d])[at]);
    }
#pragma unroll
    for (int b = 0; b < kBlocks; ++b) peers[b] = map_to_rank(&shared, (rank + b) % kBlocks);
  }

  static __device__ __forceinline__ int64_t warp_unit(uint32_t rank) {
    return rank * Shape::kUnits + threadIdx.x / 32 * 4 * U;
  }

  // Both samples' words of x w_ih^T at a frame; `gates`: its row of sample r.
  __device__ __forceinline__ void read_gates(const unsigned char* gates, int64_t t,
                                             uint32_t (&x)[2][4]) const {
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      if (t >= length[i / 4]) continue;
      x[i / 4][i % 4] = load<uint32_t>(gates, (i / 4 * 8 * 4 + i % 4) * H * sizeof(Scalar));
    }
  }

  // One frame of sample r + 8m: updates c and h; x becomes the activated gates.
  __device__ __forceinline__ void update(int m, const float (&sum)[Shape::kTiles][4],
                                         uint32_t (&x)[4]) {
    float gates[4][U], h_new[U];
#pragma unroll
    for (int gate = 0; gate < 4; ++gate) {
      Element::unpack(x[gate], gates[gate]);
#pragma unroll
      for (int u = 0; u < U; ++u) {
        const float product = sum[2 * u + gate / 2][2 * m + gate % 2];
        const float z = gates[gate][u] + product + bias[u][gate];
        gates[gate][u] = gate == 2 ? tanh_approx(z) : fast_sigmoid(z);
      }
      x[gate] = Element::pack(gates[gate]);
    }
#pragma unroll
    for (int u = 0; u < U; ++u) {
      c[m][u] = gates[1][u] * c[m][u] + gates[0][u] * gates[2][u];
      h_new[u] = gates[3][u] * tanh_approx(c[m][u]);
    }
    h[m] = Element::pack(h_new);
  }

  // h of this lane's samples to buffer s % 2 of all blocks.
  __device__ __forceinline__ void send(int64_t s) const {
    const int r = threadIdx.x % 32 / 4;
    const uint32_t buffer = s % 2, barrier = buffer * sizeof(Mbarrier);
    const uint32_t at = offsetof(ForwardShared<Shape>, h) +
                        (buffer * kClusterSamples + r) * Shape::kStride + unit * sizeof(Scalar);
#pragma unroll
    for (int m = 0; m < 2; ++m) {
      if (r + 8 * m >= tile.rows) continue;
      const uint32_t word = Element::factor(h[m]);
#pragma unroll
      for (ClusterAddress peer : peers) {
        store_async(peer + at + m * 8 * Shape::kStride, word, peer + barrier);
      }
    }
  }
};

// Zeros in both buffers (rows beyond the batch are multiplied, too), then h0 in the first.
template <class Element, class Shape>
__device__ __forceinline__ void fill_buffers(const LstmCudaForward& a, const ClusterTile& tile,
                                             ForwardShared<Shape>& shared) {
  constexpr int words = Shape::kRowBytes / 4;
  for (int i = threadIdx.x; i < 2 * kClusterSamples * words; i += Shape::kThreads) {
    const int row = i / words, at = i % words * 4;
    uint32_t word = 0;
    if (row < tile.rows) {
      const int64_t n = tile.d * a.dims.N + tile.n0 + row;
      word = Element::factor(load<uint32_t>(a.h0, n * Shape::kRowBytes + at));
    }
    put(shared.h[row / kClusterSamples][row % kClusterSamples], at, word);
  }
}

template <class Element, int kBlocks>
__global__ void __launch_bounds__(ForwardShape<Element, kBlocks>::kThreads, 1)
    lstm_sequence_forward(const LstmCudaForward a) {
  using Lane = ForwardLane<Element, kBlocks>;
  using Shape = typename Lane::Shape;
  using Floats = FloatsOf<Element::kUnits>;
  constexpr int64_t H = kClusterUnits, kSize = sizeof(typename Element::Scalar);
  const int64_t T = a.dims.T, N = a.dims.N, D = a.dims.D;
  auto& shared = *shared_memory<ForwardShared<Shape>>();
  Lane lane(a, shared);
  const auto [d, n0, rows, steps] = lane.tile;
  const Exchange exchange{shared.barriers, static_cast<uint32_t>(rows * Shape::kRowBytes),
                          steps - 1};
  if (threadIdx.x == 0) exchange.init();
  fill_buffers<Element>(a, lane.tile, shared);
  Words w[Shape::kTiles][Shape::kChunks];
  load_weights<Element, Shape>(a.w_hh[d], Lane::warp_unit(cluster_rank()), w);
  cluster_arrive();
  cluster_wait();

  // Of sample r in the frame at hand; sample r + 8 lies 8 rows further.
  const int64_t n = n0 + threadIdx.x % 32 / 4, first = d == 0 ? 0 : steps - 1,
                turn = d == 0 ? 1 : -1;
  const int64_t y_row = D * H * kSize, cells_row = H * sizeof(float), gates_row = 4 * H * kSize;
  auto* y = static_cast<unsigned char*>(a.y) + (d * H + lane.unit) * kSize + n * y_row;
  auto* cells = static_cast<unsigned char*>(a.cells) + (d * T * N + n) * cells_row + lane.unit * 4;
  auto* gates =
      static_cast<unsigned char*>(a.gates) + (d * T * N + n) * gates_row + lane.unit * kSize;
  uint32_t x[2][4] = {};
  if (steps > 0) lane.read_gates(gates + first * N * gates_row, first, x);
  for (int64_t s = 0, t = first; s < steps; ++s, t += turn) {
    if (s > 0) exchange.wait(s);
    uint32_t next[2][4] = {};
    if (s + 1 < steps) lane.read_gates(gates + (t + turn) * N * gates_row, t + turn, next);
    __syncwarp();  // mma takes whole warps
    float sum[Shape::kTiles][4];
    multiply<Element, Shape>(shared.h[s % 2], w, sum);
#pragma unroll
    for (int m = 0; m < 2; ++m) {
      if (t < lane.length[m]) lane.update(m, sum, x[m]);
    }
    if (s + 1 < steps) lane.send(s + 1);
#pragma unroll
    for (int m = 0; m < 2; ++m) {
      if (n + 8 * m >= n0 + rows) continue;
      const bool active = t < lane.length[m];
      put(y, t * N * y_row + m * 8 * y_row, active ? lane.h[m] : 0);
      if (!a.training) continue;
      Floats c{};
      if (active) c.set(lane.c[m]);
      put(cells, t * N * cells_row + m * 8 * cells_row, c);
#pragma unroll
      for (int gate = 0; gate < 4; ++gate) {
        if (active) put(gates, (t * N + 8 * m) * gates_row + gate * H * kSize, x[m][gate]);
      }
    }
#pragma unroll
    for (int i = 0; i < 8; ++i) x[i / 4][i % 4] = next[i / 4][i % 4];
  }
#pragma unroll
  for (int m = 0; m < 2; ++m) {
    if (n + 8 * m >= n0 + rows) continue;
    const int64_t state = ((d * N + n + 8 * m) * H + lane.unit) * kSize;
    put(a.h_n, state, lane.h[m]);
    put(a.c_n, state, Element::pack(lane.c[m]));
    for (int64_t t = steps; t < T; ++t) {
      put(y, t * N * y_row + m * 8 * y_row, uint32_t(0));
      if (a.training) put(cells, t * N * cells_row + m * 8 * cells_row, Floats{});
    }
  }
}

template <class Element, int kBlocks>
void run(const LstmCudaForward& args, CUstream_st* stream) {
  using Shape = ForwardShape<Element, kBlocks>;
  LaunchShape shape{cluster_grid(args.dims, kBlocks), dim3(Shape::kThreads)};
  shape.shared_bytes = sizeof(ForwardShared<Shape>);
  shape.cluster = kBlocks;
  shape.stream = stream;
  launch("lstm_sequence_forward", lstm_sequence_forward<Element, kBlocks>, shape, args);
}

}  // namespace

bool lstm_cluster_kernels_run() {
  return compiled_for(lstm_sequence_forward<Bf16Element, 8>) >= 90;
}

void lstm_cluster_forward(const LstmCudaForward& args, CUstream_st* stream) {
  const bool eight = args.kernel == LstmKernel::cluster8;
  switch (args.precision) {
    case LstmPrecision::tf32:
      return run<Tf32Element, 8>(args, stream);
    case LstmPrecision::float16:
      return eight ? run<Fp16Element, 8>(args, stream) : run<Fp16Element, 4>(args, stream);
    case LstmPrecision::bfloat16:
      return eight ? run<Bf16Element, 8>(args, stream) : run<Bf16Element, 4>(args, stream);
    default:
      return;  // lstm_cuda_kernel lets no other through
  }
}

}  // namespace crnn
