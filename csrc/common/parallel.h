// A small pool of threads for loops over independent items.
//
// Chunks of a loop are [k*grain, (k+1)*grain): they depend on `grain` alone, so a body whose
// items are independent gives the same bits for every thread count. One loop runs on the pool at
// a time; a second caller (another Python thread) runs its own loop by itself meanwhile. A forked
// child starts a pool of its own.
#pragma once

#include <cstdint>

namespace crnn {

using ChunkFunction = void (*)(void* context, int64_t begin, int64_t end);

// Runs fn over all chunks on up to num_threads threads, the caller included. Rethrows the first
// exception of a chunk after every running chunk has ended; chunks not begun are then dropped.
void run_chunks(int64_t n, int64_t grain, int num_threads, ChunkFunction fn, void* context);

// Calls body(begin, end) for each chunk of [0, n). grain >= 1.
template <class Body>
void parallel_for(int64_t n, int64_t grain, int num_threads, Body&& body) {
  run_chunks(
      n, grain, num_threads,
      [](void* context, int64_t begin, int64_t end) { (*static_cast<Body*>(context))(begin, end); },
      &body);
}

// A function the calling thread runs between chunks, at most every 50 ms; it may throw to stop
// the loop. The bindings set it to ask Python for pending signals, so that Ctrl-C works.
void set_interrupt_check(void (*check)());

// Runs the interrupt check if 50 ms have passed since this thread last did: for long serial loops.
void poll_interrupt();

}  // namespace crnn
