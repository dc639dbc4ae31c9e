// The LSTM recurrence, backward, in one launch: H = 256, sm_90.
//
//   dh = dy_t + dgates_after w_hh;  dgates_t and dc by cell_gradient
//
// Pointers: LstmCudaBackward. Clusters and their blocks share the work as in the forward kernel:
// 16 samples of one direction per cluster, 256 / kBlocks units per block, whose rows of w_hh stay
// in registers. So a block has only some of the rows that dgates w_hh sums over: it makes a partial
// sum for all 256 units and sends each block the part for its units. The receiver adds the parts in
// the order of their ranks: deterministic.
//
// Per step: wait for the parts of dh; add them; gradients of the cells, to shared memory and to
// dgates; a barrier of the block; multiply (rows: samples, columns: units); send the parts by
// st.async. Two buffers suffice for the parts: exchange s + 2 is sent by blocks that have received
// exchange s + 1, to which this block contributed after its barrier of step s, so after it had read
// exchange s. Two buffers suffice for dgates: the barrier of step s + 1 comes after the products of
// step s. A block leaves only when it has received all that is sent to it.
//
// Where a sample's frames have not begun or have ended (lengths), its dgates are 0, and dh and dc
// stay with the lane that owns them. Column c of tile p is unit 16 (p / 2) + 2c + p % 2 of the
// warp's, so that a lane has four adjacent units in two tiles and sends 16 bytes at once.
#include "kernels/cuda/lstm_cluster.cuh"

namespace crnn {
namespace {

template <class Element, int kBlocks>
struct BackwardShape : ClusterShape<Element, kBlocks> {
  using Base = ClusterShape<Element, kBlocks>;
  static constexpr int kRowBytes =
      4 * Base::kUnits * sizeof(typename Element::Scalar);  // of dgates
  static constexpr int kChunks = kRowBytes / kChunkBytes;
  static constexpr int kStride = kRowBytes + kChunkBytes;
  static constexpr int kColumns = kClusterUnits / Base::kWarps;  // units of dh, per warp
  static constexpr int kTiles = kColumns / 8;
  static constexpr int kSplit = 8 / kTiles;
  static constexpr int kOwners = kColumns > Base::kUnits ? kColumns / Base::kUnits : 1;
  // A row of a part; a quarter of 128 bytes longer per two units of a lane, against bank conflicts.
  static constexpr int kPartBytes = Base::kUnits * sizeof(float) + 16 * Element::kUnits;
  static_assert(kRowBytes % 128 == 0, "see lstm_cluster.cuh");
};

template <class Shape, int kBlocks>
struct BackwardShared {
  Mbarrier barriers[2];
  alignas(128) unsigned char dgates[2][kClusterSamples][Shape::kStride];            // [unit][gate]
  alignas(16) unsigned char parts[2][kBlocks][kClusterSamples][Shape::kPartBytes];  // by sender
};

// What a lane reads per frame.
template <int U>
struct FrameInputs {
  uint32_t gates[2][4], dy[2];
  FloatsOf<U> c[2], c_before[2];
};

template <class Element, int kBlocks>
struct BackwardLane {
  using Shape = BackwardShape<Element, kBlocks>;
  using Scalar = typename Element::Scalar;
  using Shared = BackwardShared<Shape, kBlocks>;
  static constexpr int U = Element::kUnits;
  static constexpr int64_t H = kClusterUnits;

  ClusterTile tile;
  int64_t unit, n;    // the first unit of its word, its first sample
  int64_t length[2];  // of samples n and n + 8; 0 beyond the batch
  uint32_t rank;
  float dh[2][U], dc[2][U];
  ClusterAddress owners[Shape::kOwners];  // the blocks that its parts go to

  __device__ __forceinline__ BackwardLane(const LstmCudaBackward& a, Shared& shared)
      : tile(a.dims, a.lengths, kBlocks), rank(cluster_rank()) {
    const int warp = threadIdx.x / 32;
    unit = rank * Shape::kUnits + warp * 4 * U + threadIdx.x % 4 * U;
    n = tile.n0 + threadIdx.x % 32 / 4;
#pragma unroll
    for (int m = 0; m < 2; ++m) {
      length[m] = valid(m) ? length_of(a.lengths, n + 8 * m, a.dims.T) : 0;
#pragma unroll
      for (int u = 0; u < U; ++u) dh[m][u] = dc[m][u] = 0;
      if (!valid(m)) continue;
      Element::unpack(load<uint32_t>(a.dh_n, state(a, m)), dh[m]);
      Element::unpack(load<uint32_t>(a.dc_n, state(a, m)), dc[m]);
    }
#pragma unroll
    for (int k = 0; k < Shape::kOwners; ++k) {
      owners[k] = map_to_rank(&shared, warp * Shape::kColumns / Shape::kUnits + k);
    }
  }

  __device__ __forceinline__ bool valid(int m) const { return n + 8 * m < tile.n0 + tile.rows; }
  // Where its word of sample n + 8m is in [D, N, H], in bytes.
  __device__ __forceinline__ int64_t state(const LstmCudaBackward& a, int m) const {
    return ((tile.d * a.dims.N + n + 8 * m) * H + unit) * sizeof(Scalar);
  }

  __device__ __forceinline__ void read(const LstmCudaBackward& a, int64_t t,
                                       FrameInputs<U>& in) const {
    const int64_t T = a.dims.T, N = a.dims.N, D = a.dims.D;
#pragma unroll
    for (int m = 0; m < 2; ++m) {
      if (t >= length[m]) continue;
      const int64_t sample = n + 8 * m, at = (tile.d * T + t) * N + sample;
#pragma unroll
      for (int gate = 0; gate < 4; ++gate) {
        in.gates[m][gate] = load<uint32_t>(a.gates, ((at * 4 + gate) * H + unit) * sizeof(Scalar));
      }
      in.dy[m] =
          load<uint32_t>(a.dy, (((t * N + sample) * D + tile.d) * H + unit) * sizeof(Scalar));
      in.c[m] = load<FloatsOf<U>>(a.cells, (at * H + unit) * 4);
      if (is_first_frame(t, length[m], tile.d)) {
        Element::unpack(load<uint32_t>(a.c0, state(a, m)), in.c_before[m].x);
      } else {
        const int64_t before = tile.d == 0 ? at - N : at + N;
        in.c_before[m] = load<FloatsOf<U>>(a.cells, (before * H + unit) * 4);
      }
    }
  }

  // Adds the parts of exchange s to dh.
  __device__ __forceinline__ void receive(const Shared& shared, int64_t s) {
    const int64_t at = (unit - rank * Shape::kUnits) * 4, row = n - tile.n0;
#pragma unroll
    for (int m = 0; m < 2; ++m) {
      if (!valid(m)) continue;
#pragma unroll
      for (int sender = 0; sender < kBlocks; ++sender) {
        const auto part = load<FloatsOf<U>>(shared.parts[s % 2][sender][row + 8 * m], at);
#pragma unroll
        for (int u = 0; u < U; ++u) dh[m][u] += part.x[u];
      }
    }
  }

  // One frame of sample n + 8m, to `row` of shared memory and to dgates.
  __device__ __forceinline__ void update(const LstmCudaBackward& a, int64_t t, int m,
                                         const FrameInputs<U>& in, unsigned char* row) {
    float gradients[4][U] = {};
    if (t < length[m]) {
      float gates[4][U], dy[U];
#pragma unroll
      for (int gate = 0; gate < 4; ++gate) Element::unpack(in.gates[m][gate], gates[gate]);
      Element::unpack(in.dy[m], dy);
#pragma unroll
      for (int u = 0; u < U; ++u) {
        float result[4];
        cell_gradient(gates[0][u], gates[1][u], gates[2][u], gates[3][u], in.c_before[m].x[u],
                      tanh_approx(in.c[m].x[u]), dh[m][u] + dy[u], dc[m][u], result);
#pragma unroll
        for (int gate = 0; gate < 4; ++gate) gradients[gate][u] = result[gate];
        dh[m][u] = 0;
      }
    }
    Words words;  // of the order [unit][gate]
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      float x[U];
#pragma unroll
      for (int u = 0; u < U; ++u) x[u] = gradients[(i * U + u) % 4][(i * U + u) / 4];
      words.word[i] = Element::factor(Element::pack(x));
    }
    put(row, (unit - rank * Shape::kUnits) * 4 * sizeof(Scalar), words);
    if (!valid(m)) return;
    const int64_t at = (tile.d * a.dims.T + t) * a.dims.N + n + 8 * m;
#pragma unroll
    for (int gate = 0; gate < 4; ++gate) {
      put(a.dgates, ((at * 4 + gate) * H + unit) * sizeof(Scalar), Element::pack(gradients[gate]));
    }
  }

  // Exchange s: this warp's columns of the block's part, to the blocks that own their units.
  __device__ __forceinline__ void send(const float (&sum)[Shape::kTiles][4], int64_t s) const {
    const uint32_t buffer = s % 2, barrier = buffer * sizeof(Mbarrier);
    const uint32_t row = static_cast<uint32_t>(n - tile.n0);
    const uint32_t first = threadIdx.x / 32 * Shape::kColumns % Shape::kUnits + threadIdx.x % 4 * 4;
    const uint32_t at = offsetof(Shared, parts) +
                        ((buffer * kBlocks + rank) * kClusterSamples + row) * Shape::kPartBytes +
                        first * sizeof(float);
#pragma unroll
    for (int m = 0; m < 2; ++m) {
      if (!valid(m)) continue;
#pragma unroll
      for (int p = 0; p < Shape::kTiles; p += 2) {
        const ClusterAddress owner = owners[8 * p / Shape::kUnits];
        const uint32_t to = at + m * 8 * Shape::kPartBytes + 8 * p % Shape::kUnits * sizeof(float);
        store_async(owner + to, sum[p][2 * m], sum[p + 1][2 * m], sum[p][2 * m + 1],
                    sum[p + 1][2 * m + 1], owner + barrier);
      }
    }
  }
};

// The rows of w_hh for this block's gates, as factors b: k is [unit][gate], columns are units.
template <class Element, class Shape>
__device__ __forceinline__ void load_columns(const void* w_hh, int64_t block_unit,
                                             Words (&w)[Shape::kTiles][Shape::kChunks]) {
  using Scalar = typename Element::Scalar;
  constexpr int U = Element::kUnits;
  const int r = threadIdx.x % 32 / 4, q = threadIdx.x % 4;
  struct alignas(2 * sizeof(Scalar)) Two {  // of the same row, for tiles p and p + 1
    Scalar x[2];
  };
#pragma unroll
  for (int i = 0; i < Shape::kTiles / 2 * Shape::kChunks * 4; ++i) {
    const int p = i / (Shape::kChunks * 4) * 2, j = i / 4 % Shape::kChunks;
    const int64_t column = threadIdx.x / 32 * Shape::kColumns + p * 8 + 2 * r;
    Scalar even[U], odd[U];
#pragma unroll
    for (int e = 0; e < U; ++e) {
      const int64_t k = ((j * 4 + q) * 4 + i % 4) * U + e;
      const int64_t row = k % 4 * kClusterUnits + block_unit + k / 4;
      const auto two = load<Two>(w_hh, (row * kClusterUnits + column) * sizeof(Scalar));
      even[e] = two.x[0];
      odd[e] = two.x[1];
    }
    w[p][j].word[i % 4] = Element::factor(even);
    w[p + 1][j].word[i % 4] = Element::factor(odd);
  }
}

template <class Element, int kBlocks>
__global__ void __launch_bounds__(BackwardShape<Element, kBlocks>::kThreads, 1)
    lstm_sequence_backward(const LstmCudaBackward a) {
  using Lane = BackwardLane<Element, kBlocks>;
  using Shape = typename Lane::Shape;
  auto& shared = *shared_memory<typename Lane::Shared>();
  Lane lane(a, shared);
  const auto [d, n0, rows, steps] = lane.tile;
  const Exchange exchange{shared.barriers,
                          static_cast<uint32_t>(rows * kClusterUnits * sizeof(float)), steps};
  if (threadIdx.x == 0) exchange.init();
  Words w[Shape::kTiles][Shape::kChunks];
  load_columns<Element, Shape>(a.w_hh[d], int64_t(lane.rank) * Shape::kUnits, w);
  cluster_arrive();
  cluster_wait();

  const int64_t first = d == 0 ? steps - 1 : 0, turn = d == 0 ? -1 : 1;
  FrameInputs<Element::kUnits> in{};
  if (steps > 0) lane.read(a, first, in);
  for (int64_t s = 0, t = first; s < steps; ++s, t += turn) {
    if (s > 0) {
      exchange.wait(s);
      lane.receive(shared, s);
    }
#pragma unroll
    for (int m = 0; m < 2; ++m) {
      lane.update(a, t, m, in, shared.dgates[s % 2][threadIdx.x % 32 / 4 + 8 * m]);
    }
    if (s + 1 < steps) lane.read(a, t + turn, in);
    __syncthreads();
    float sum[Shape::kTiles][4];
    multiply<Element, Shape>(shared.dgates[s % 2], w, sum);
    lane.send(sum, s + 1);
  }
  if (steps > 0) {
    exchange.wait(steps);
    lane.receive(shared, steps);
  }
#pragma unroll
  for (int m = 0; m < 2; ++m) {
    if (!lane.valid(m)) continue;
    put(a.dh0, lane.state(a, m), Element::pack(lane.dh[m]));
    put(a.dc0, lane.state(a, m), Element::pack(lane.dc[m]));
    for (int64_t t = steps; t < a.dims.T; ++t) {
      const int64_t at = (d * a.dims.T + t) * a.dims.N + lane.n + 8 * m;
      for (int gate = 0; gate < 4; ++gate) {
        put(a.dgates, ((at * 4 + gate) * Lane::H + lane.unit) * sizeof(typename Element::Scalar),
            uint32_t(0));
      }
    }
  }
}

template <class Element, int kBlocks>
void run(const LstmCudaBackward& args, CUstream_st* stream) {
  using Shape = BackwardShape<Element, kBlocks>;
  LaunchShape shape{cluster_grid(args.dims, kBlocks), dim3(Shape::kThreads)};
  shape.shared_bytes = sizeof(BackwardShared<Shape, kBlocks>);
  shape.cluster = kBlocks;
  shape.stream = stream;
  launch("lstm_sequence_backward", lstm_sequence_backward<Element, kBlocks>, shape, args);
}

}  // namespace

void lstm_cluster_backward(const LstmCudaBackward& args, CUstream_st* stream) {
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
