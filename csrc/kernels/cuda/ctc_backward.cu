// Gradient of the CTC loss with respect to logits (or, the same, to log-probabilities):
//   dx = w (softmax(x) - posterior),  w = grad / (max(L, 1) N for the mean).
// One reading of x, one writing of dx. A row has a warp, or a block of 256 threads if it is long.
// The posteriors of a class that the label repeats are added up by the thread that has its first
// occurrence, along the list that the forward pass made: no atomics, one fixed order.
#include "kernels/ctc_cuda.h"
#include "kernels/cuda/ctc_rows.cuh"
#include "kernels/cuda/launch.cuh"

namespace crnn {
namespace {

constexpr int kLongRow = 1024;  // classes
constexpr int kThreads = 256;

template <class In>
struct Arguments {
  using Real = typename RealOf<In>::type;
  CtcCudaBatch batch;
  const In* x;
  Saved<Real> saved;
  const Real* grad;
  int64_t grad_n;
  In* dx;
  int64_t dx_t, dx_n;
};

// A group of threads that shares a row.
template <int kGroup>
struct Group {
  static __device__ int thread() { return threadIdx.x % kGroup; }
  static __device__ void sync() {
    if (kGroup == 32) {
      __syncwarp();
    } else {
      __syncthreads();
    }
  }
  // Sum over the group, in every thread.
  template <class Real>
  static __device__ Real sum(Real v) {
    v = warp_sum(v);
    if (kGroup == 32) return v;
    Real* parts = shared_memory<Real>();
    __syncthreads();
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = v;
    __syncthreads();
    Real all = 0;
    for (int w = 0; w < kGroup / 32; ++w) all += parts[w];
    return all;
  }
};

template <class In>
__device__ typename RealOf<In>::type weight_of(const Arguments<In>& a, int64_t n, int L) {
  using Real = typename RealOf<In>::type;
  const Real loss = a.saved.losses[n];
  if (isnan(loss) || (isinf(loss) && !a.batch.zero_infinity)) return NAN;
  if (isinf(loss)) return 0;
  const double w = a.grad[n * a.grad_n];
  if (a.batch.reduction != CtcReduction::mean) return static_cast<Real>(w);
  return static_cast<Real>(
      w / (static_cast<double>(L > 1 ? L : 1) * static_cast<double>(a.batch.dims.N)));
}

// dx = scale * exp(x - shift).
template <class In>
__device__ void write_row(const In* x, In* dx, int C, typename RealOf<In>::type shift,
                          typename RealOf<In>::type scale, int thread, int threads) {
  using Real = typename RealOf<In>::type;
  constexpr int size = Chunk<In>::kSize;
  const bool aligned = on_16_bytes(dx);
  visit_row(x, C, thread, threads, [&](const Real* values, int c, int count) {
    Chunk<In> out;
#pragma unroll
    for (int i = 0; i < size; ++i) out.value[i] = from_real<In>(exp(values[i] - shift) * scale);
    if (aligned && count == size) {
      *reinterpret_cast<Chunk<In>*>(dx + c) = out;
    } else {
#pragma unroll
      for (int i = 0; i < size; ++i) {
        if (i < count) dx[c + i] = out.value[i];
      }
    }
  });
}

template <class In, int kGroup>
__global__ void __launch_bounds__(kThreads) gradient_kernel(Arguments<In> a) {
  using Real = typename RealOf<In>::type;
  using G = Group<kGroup>;
  const CtcDims& d = a.batch.dims;
  const int64_t row = static_cast<int64_t>(blockIdx.x) * (kThreads / kGroup) + threadIdx.x / kGroup;
  if (row >= d.T * d.N) return;
  const int64_t t = row / d.N, n = row % d.N;
  const int thread = G::thread(), C = static_cast<int>(d.C);
  In* dx = a.dx + t * a.dx_t + n * a.dx_n;
  const int64_t offset = a.saved.samples[n];
  const int frames = static_cast<int>(a.saved.samples[d.N + n]);
  const int L = static_cast<int>(a.saved.samples[2 * d.N + n]);

  const Real w = t < frames ? weight_of(a, n, L) : Real(0);
  if (w == 0 || isnan(w)) {  // x and posteriors may hold anything then
    for (int c = thread; c < C; c += kGroup) dx[c] = from_real<In>(w);
    return;
  }
  const In* x = a.x + t * a.batch.x_t + n * a.batch.x_n;
  const Real shift = d.from_logits ? a.saved.row_shift[row] : Real(0);
  const Real scale = d.from_logits ? w / a.saved.row_sum[row] : w;
  write_row(x, dx, C, shift, scale, thread, kGroup);

  const Real* blanks = a.saved.posteriors + d.T * (2 * offset + n) + t * (2 * L + 1);
  const Real* symbols = blanks + L + 1;
  Real blank = 0, symbol = 0;
  for (int i = thread; i <= L; i += kGroup) {
    blank += blanks[i];
    if (i < L) symbol += symbols[i];
  }
  blank = G::sum(blank);
  const Real share = w / (blank + G::sum(symbol));  // makes the frame's posteriors add up to w
  G::sync();  // the row is written; the label's classes are written again

  const auto* links = a.saved.links + offset + n;
  for (int slot = thread; slot <= L; slot += kGroup) {
    if (links[slot] >= kCtcRepeated) continue;
    Real posterior = slot == 0 ? blank : symbols[slot - 1];
    for (auto next = links[slot]; next != 0; next = links[next] - kCtcRepeated) {
      posterior += symbols[next - 1];
    }
    const int64_t c = slot == 0 ? d.blank : load_integer(a.batch.targets, offset + slot - 1);
    dx[c] = from_real<In>(exp(to_real(x[c]) - shift) * scale - posterior * share);
  }
}

template <class In>
void backward(const CtcCudaBatch& batch, const CtcCudaSaved& saved, const void* grad,
              int64_t grad_n, void* dx, int64_t dx_t, int64_t dx_n, CUstream_st* stream) {
  using Real = typename RealOf<In>::type;
  const CtcDims& d = batch.dims;
  const int64_t rows = d.T * d.N;
  if (rows == 0) return;
  Arguments<In> a{};
  a.batch = batch;
  a.x = static_cast<const In*>(batch.x);
  a.saved = parts_of<Real>(saved, d);
  a.grad = static_cast<const Real*>(grad);
  a.grad_n = grad_n;
  a.dx = static_cast<In*>(dx);
  a.dx_t = dx_t;
  a.dx_n = dx_n;
  const bool is_long = d.C >= kLongRow;
  const int64_t blocks = is_long ? rows : (rows + kThreads / 32 - 1) / (kThreads / 32);
  const LaunchShape shape{{static_cast<unsigned>(blocks)},
                          {kThreads},
                          is_long ? kThreads / 32 * sizeof(Real) : 0,
                          1,
                          stream};
  launch("ctc_loss", is_long ? gradient_kernel<In, kThreads> : gradient_kernel<In, 32>, shape, a);
}

}  // namespace

void ctc_cuda_backward(const CtcCudaBatch& batch, const CtcCudaSaved& saved, const void* grad,
                       int64_t grad_n, void* dx, int64_t dx_t, int64_t dx_n, CUstream_st* stream) {
  switch (batch.type) {
    case CtcType::f32:
      return backward<float>(batch, saved, grad, grad_n, dx, dx_t, dx_n, stream);
    case CtcType::f64:
      return backward<double>(batch, saved, grad, grad_n, dx, dx_t, dx_n, stream);
    case CtcType::f16:
      return backward<__half>(batch, saved, grad, grad_n, dx, dx_t, dx_n, stream);
    case CtcType::bf16:
      return backward<__nv_bfloat16>(batch, saved, grad, grad_n, dx, dx_t, dx_n, stream);
  }
}

}  // namespace crnn
