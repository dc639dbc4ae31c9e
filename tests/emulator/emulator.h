// Runs CUDA kernels on the CPU, so that tests execute them where there is no GPU.
//
// The kernels' own sources compile as C++ against the headers in include/. Every CUDA thread is a
// fibre; a seeded random scheduler switches between the fibres of one cluster at barriers, at warp
// operations and, now and then, at any access to memory. Clusters run one after the other, in
// random order. The sources are compiled with -fsanitize=thread but linked without its run-time
// library: the hooks that the compiler calls before every access are ours (memory.cpp). They report
//  - misaligned accesses (the compiler may take vectors apart: then their elements are checked),
//  - accesses outside the registered tensors, shared memory and the thread's own stack,
//  - reads of memory that nothing has written, writes to inputs,
//  - races: two accesses, one a write, that no barrier orders.
// A report ends the launch with an exception that names the source line.
//
// This file is what the twins of CUDA's functions are written with.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

namespace emulator {

struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Index3 {
  unsigned x = 1, y = 1, z = 1;
};

// The place of a call in the kernel, for reports: use as a default argument.
struct Place {
  const char* file;
  int line;
  static Place here(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    return {file, line};
  }
};

// ---- one launch -------------------------------------------------------------------------------

struct LaunchConfig {
  Index3 grid, block;
  unsigned cluster = 1;  // blocks along x
  size_t shared_bytes = 0;
};

// Runs body(parameters) once per thread. `parameters`: the kernel and its arguments.
using Body = void (*)(const void* parameters);
void run(const LaunchConfig& config, Body body, const void* parameters, size_t parameter_bytes);

// ---- inside a kernel --------------------------------------------------------------------------

Index3 thread_index();
Index3 block_index();
Index3 block_size();
Index3 grid_size();
unsigned cluster_rank();
unsigned cluster_size();
unsigned lane_index();

unsigned char* shared_memory();                           // of this block
unsigned char* shared_memory_of(unsigned rank);           // of another block of the cluster
unsigned char* map_shared(const void* p, unsigned rank);  // the same offset in that block

[[noreturn]] void report(const std::string& problem);

// All threads of the block that have not returned; named barriers wait for `count` threads.
void block_barrier(int id, int count, Place place);
inline void block_barrier(Place place) { block_barrier(0, 0, place); }
bool block_barrier_or(bool predicate, Place place);  // __syncthreads_or
void cluster_arrive(Place place);
void cluster_wait(Place place);

// One operation of all lanes in `mask`: the last lane to arrive runs `combine` over the operands
// (null for lanes outside the mask). `ordered` also orders memory between the lanes (__syncwarp).
using Combine = void (*)(void* const* operands);
void warp_operation(unsigned mask, const char* name, void* operand, Combine combine, bool ordered,
                    Place place);

// Sleeps until `ready` returns true. Every other change of state must come from another thread or
// from `later`.
void wait_until(const char* what, const std::function<bool()>& ready, Place place);

// Runs `action` at some later, random moment; at the latest when no thread can go on.
void later(std::function<void()> action);

// Lets other threads run, if the dice say so.
void maybe_yield();

// ---- memory -----------------------------------------------------------------------------------

// The hooks for instructions that the compiler does not see (twins of inline PTX).
void check_read(const void* p, size_t bytes);
void check_write(const void* p, size_t bytes);

// What a thread has seen of the others: orders memory through objects such as an mbarrier.
using Clock = std::vector<uint32_t>;
void release(Clock& clock);        // everything this thread did so far becomes visible ...
void acquire(const Clock& clock);  // ... to a thread that acquires
// A write done by a copy engine or the network on behalf of a thread, which released `clock` when
// it issued the write.
void check_write_by(const Clock& clock, unsigned thread, const void* p, size_t bytes);
unsigned thread_number();  // within the cluster

// Atomic operations order memory between blocks.
void atomic_access(const void* p, size_t bytes);

// ---- the test's side --------------------------------------------------------------------------

enum class Access { read, write, read_write };

struct Region {
  std::string name;
  uintptr_t begin, end;
  Access access;
};

void seed(uint64_t value);
// Tensors that the next launches may use; `write` ones count as unwritten.
void set_regions(const std::vector<Region>& regions);
// "name: byte k of n" for each `write` region with a byte that no launch has written.
std::vector<std::string> unwritten();

struct Device {
  int major = 9, minor = 0;
  int multiprocessors = 132;
  size_t shared_per_block = 232448;
};
Device& device();
int64_t launches();  // since the module was loaded

}  // namespace emulator
