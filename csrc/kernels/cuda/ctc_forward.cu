// CTC loss on the GPU (Graves et al., 2006): equations in kernels/cpu/ctc_recursion.cpp, contract
// in kernels/ctc_cuda.h.
//
//   rows      [T * N blocks of 256]: statistics of each row, where a row is long enough to be worth
//             a block; one reading of x, at the speed of memory
//   samples   [N blocks]: one sample each. Statistics of short rows, emissions of the label, then
//             the recursion (ctc_recursion.cuh). What the recursion reads lies in shared memory
//             where that suffices, else in `scratch` (L2)
//   reduce    [1 block]: sum or mean over samples
//
// Per sample and frame the recursion costs about 60 instructions per pair of states and lane, and
// no exp or log. Every sum has an order that depends on neither the batch nor the launch.
#include "kernels/cuda/ctc_samples.cuh"

namespace crnn {
namespace {

constexpr int kLongRow = 1024;             // classes from which a row gets a block of its own
constexpr int64_t kMostTargets = 1 << 29;  // so that 32 bits hold every offset
constexpr int kMaxThreads = 512;           // of a sample's block: 128 registers for each

// ---- rows --------------------------------------------------------------------------------------

template <class In>
__global__ void __launch_bounds__(256) rows_kernel(Arguments<In> a) {
  using Real = typename RealOf<In>::type;
  const CtcDims& d = a.batch.dims;
  const int64_t row = blockIdx.x, t = row / d.N, n = row % d.N;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  if (t >= load_integer(a.batch.input_lengths, n)) return;  // the sample's block writes 0
  RowStatistics<Real>* parts = shared_memory<RowStatistics<Real>>();
  const In* x = a.x + t * a.batch.x_t + n * a.batch.x_n;
  const auto part = over_warp(part_of_row(x, static_cast<int>(d.C), threadIdx.x, 256));
  if (lane == 0) parts[warp] = part;
  __syncthreads();
  if (warp != 0) return;
  RowStatistics<Real> all{Format<Real>::kLowest, 0};
  if (lane < 8) all = parts[lane];
  all = checked(over_warp(all));
  if (lane == 0) {
    a.saved.row_shift[row] = all.shift;
    a.saved.row_sum[row] = all.sum;
  }
}

// ---- samples -----------------------------------------------------------------------------------

template <class In, int K, bool kMulti>
__global__ void __launch_bounds__(kMulti ? kMaxThreads : 32 * kRowWarps)
    samples_kernel(Arguments<In> a) {
  using Real = typename RealOf<In>::type;
  Header* header = shared_memory<Header>();
  const Sample s = read_sample(a, header);
  if (a.saved.posteriors != nullptr) {
    if (threadIdx.x < 3) {
      const int64_t values[3] = {s.offset, s.frames, s.L};
      a.saved.samples[threadIdx.x * a.batch.dims.N + s.n] = values[threadIdx.x];
    }
    if (s.valid) link_repeats(a, s);
  }
  // A label longer than `longest` needs more frames than there are, or is beyond this kernel.
  const bool too_long = s.valid && s.L > a.batch.longest && s.L <= s.frames;
  const bool impossible = s.valid && (s.L > a.batch.longest || (s.frames == 0 && s.L > 0));
  if (!s.valid || impossible || s.frames == 0) {
    clear_rest(a, s, 0);
    const double loss = !s.valid || too_long ? NAN : impossible ? INFINITY : 0.0;
    if (threadIdx.x == 0) write_loss(a, s.n, loss);
    return;
  }

  auto* shared = reinterpret_cast<Scaled<Real>*>(header + 1);
  const Plan& plan = a.plan;
  const int64_t block = plan.emissions + 2 * plan.rows;
  Scaled<Real>* tables = plan.in_shared ? shared + plan.fixed : a.scratch + s.n * block;
  Lattice<Real> lattice;
  lattice.frames = s.frames;
  lattice.L = s.L;
  lattice.stride = plan.stride;
  lattice.boundary = shared;
  lattice.joint = shared + 64;
  lattice.total = shared + 64 + plan.stride;
  lattice.emissions = tables;
  lattice.rows_b = tables + plan.emissions;
  lattice.rows_l = lattice.rows_b + plan.rows;
  const int64_t base = a.batch.dims.T * (2 * s.offset + s.n);
  lattice.posteriors = a.saved.posteriors == nullptr ? nullptr : a.saved.posteriors + base;
  prepare_frames(a, s, header, lattice.emissions);
  __syncthreads();
  run_recursion<Real, K, kMulti>(
      lattice, [&](int i) { return load_integer(a.batch.targets, s.offset + i); });

  const Scaled<Real> z = *lattice.total;
  clear_rest(a, s, z.e < kLeast ? 0 : s.frames);
  if (threadIdx.x != 0) return;
  FrameSums all{0, 0};
  for (int w = 0; w < min(kRowWarps, s.frames); ++w) {
    all.log_scale += header->sums[w].log_scale;
    all.exponents += header->sums[w].exponents;
  }
  constexpr double ln2 = 0.69314718055994530942;
  double loss = -(all.log_scale + ln2 * static_cast<double>(all.exponents + z.e) +
                  log(static_cast<double>(z.m)));
  if (z.e < kLeast) loss = all.log_scale - all.log_scale == 0 ? INFINITY : NAN;
  write_loss(a, s.n, loss);
}

// ---- reduction ---------------------------------------------------------------------------------

template <class Real>
__global__ void __launch_bounds__(256)
    reduce_kernel(const Real* losses, CtcIntegers target_lengths, int64_t N, bool mean,
                  bool zero_infinity, Real* loss) {
  const int thread = threadIdx.x;
  double sum = 0;
  for (int64_t n = thread; n < N; n += 256) {
    double value = losses[n];
    if (zero_infinity && isinf(value)) value = 0;
    const int64_t L = mean ? load_integer(target_lengths, n) : 1;
    sum += mean ? value / (static_cast<double>(L > 1 ? L : 1) * static_cast<double>(N)) : value;
  }
  double* sums = shared_memory<double>();
  sums[thread] = sum;
  for (int width = 128; width > 0; width /= 2) {
    __syncthreads();
    if (thread < width) sums[thread] += sums[thread + width];
  }
  if (thread == 0) *loss = static_cast<Real>(sums[0]);
}

// ---- launchers ---------------------------------------------------------------------------------

template <class In>
void forward(const CtcCudaBatch& batch, const CtcCudaSaved& saved, void* loss, void* scratch,
             CUstream_st* stream) {
  using Real = typename RealOf<In>::type;
  constexpr const char* name = "ctc_loss";
  const CtcDims& d = batch.dims;
  if (d.N == 0) return;
  if (d.T * d.N > INT32_MAX) fail(name, "log_probs", "have fewer than 2^31 rows", d.T * d.N);
  if (d.targets > kMostTargets) fail(name, "targets", "have at most 2^29 elements", d.targets);
  Arguments<In> a{};
  a.batch = batch;
  a.x = static_cast<const In*>(batch.x);
  a.saved = parts_of<Real>(saved, d);
  a.loss = batch.reduction == CtcReduction::none ? static_cast<Real*>(loss) : nullptr;
  a.plan = make_plan<Real>(batch, saved.for_gradient);
  a.scratch = static_cast<Scaled<Real>*>(scratch);
  a.statistics_done = d.from_logits && d.C >= kLongRow && d.T > 0;
  if (a.statistics_done) {
    const LaunchShape rows{
        {static_cast<unsigned>(d.T * d.N)}, {256}, 8 * sizeof(RowStatistics<Real>), 1, stream};
    launch(name, rows_kernel<In>, rows, a);
  }
  const Plan& plan = a.plan;
  LaunchShape samples{{static_cast<unsigned>(d.N)}, {32 * kRowWarps}, 0, 1, stream};
  samples.shared_bytes =
      sizeof(Header) +
      slots_bytes<Real>(plan.fixed + (plan.in_shared ? plan.emissions + 2 * plan.rows : 0));
  // Pairs per lane: 1 in one warp per direction, then several warps with as many as they need.
  const auto start = [&](auto kernel, unsigned pairs) {
    const unsigned per_warp = 32 * pairs;
    const unsigned warps = 2 * ((static_cast<unsigned>(plan.stride) + per_warp - 1) / per_warp);
    samples.block = dim3(32 * (warps > kRowWarps ? warps : kRowWarps));
    launch(name, kernel, samples, a);
  };
  if (plan.stride <= 32) {
    start(samples_kernel<In, 1, false>, 1);
  } else if (plan.stride <= kMaxThreads) {
    start(samples_kernel<In, 2, true>, 2);
  } else {
    static_assert(kCtcCudaLongest + 1 <= 2 * kMaxThreads, "4 pairs a lane, half the lanes");
    start(samples_kernel<In, 4, true>, 4);
  }
  if (batch.reduction == CtcReduction::none) return;
  const LaunchShape one{{1}, {256}, 256 * sizeof(double), 1, stream};
  launch(name, reduce_kernel<Real>, one, static_cast<const Real*>(a.saved.losses),
         batch.target_lengths, d.N, batch.reduction == CtcReduction::mean, batch.zero_infinity,
         static_cast<Real*>(loss));
}

}  // namespace

size_t ctc_cuda_scratch_bytes(const CtcCudaBatch& batch, bool for_gradient) {
  const auto bytes = [&](auto real) -> size_t {
    using Real = decltype(real);
    const Plan plan = make_plan<Real>(batch, for_gradient);
    const int64_t slots = plan.emissions + 2 * plan.rows;
    return plan.in_shared ? 0 : slots_bytes<Real>(batch.dims.N * slots);
  };
  return batch.type == CtcType::f64 ? bytes(0.0) : bytes(0.0f);
}

void ctc_cuda_forward(const CtcCudaBatch& batch, const CtcCudaSaved& saved, void* loss,
                      void* scratch, CUstream_st* stream) {
  switch (batch.type) {
    case CtcType::f32:
      return forward<float>(batch, saved, loss, scratch, stream);
    case CtcType::f64:
      return forward<double>(batch, saved, loss, scratch, stream);
    case CtcType::f16:
      return forward<__half>(batch, saved, loss, scratch, stream);
    case CtcType::bf16:
      return forward<__nv_bfloat16>(batch, saved, loss, scratch, stream);
  }
}

}  // namespace crnn
