// What scheduler.cpp, barriers.cpp and memory.cpp share.
#pragma once

#include <memory>

#include "emulator.h"

namespace emulator {

// Last accesses of two bytes of memory, as (thread, clock of that thread); clock 0 is none.
struct Cell {
  uint32_t write_clock = 0, read_clock[2] = {0, 0};
  uint16_t writer = 0, reader[2] = {0, 0};
  bool written[2] = {false, false};
  uint32_t cluster = 0;  // of those accesses
};

struct Memory {
  std::string name;
  uintptr_t begin = 0, end = 0;
  Access access = Access::read_write;
  bool shared = false;
  std::vector<Cell> cells;  // one per two bytes
  void reset(bool initialised);
};

struct Block;

struct Fiber {
  void* stack_pointer = nullptr;
  uintptr_t stack_begin = 0, stack_end = 0;
  bool runnable = false, finished = true;
  Index3 thread;
  unsigned number = 0, lane = 0, warp = 0;
  Block* block = nullptr;
  Clock clock;
  bool predicate = false;  // given to a barrier; then what the barrier found
  // Where it waits, for the report of a deadlock.
  const char* waits_for = nullptr;
  Place place{};
  const std::function<bool()>* ready = nullptr;
};

struct Barrier {
  std::vector<Fiber*> waiting;
};

struct WarpOperation {
  unsigned mask = 0, arrived = 0;
  const char* name = nullptr;
  Place place{};
  void* operands[32] = {};
  Fiber* fibers[32] = {};
};

struct Block {
  Index3 index;
  unsigned rank = 0;
  std::unique_ptr<unsigned char[]> storage;
  unsigned char* shared = nullptr;
  Memory memory;
  std::vector<Fiber*> fibers;
  int live = 0;
  Barrier barriers[16];
  std::vector<std::vector<WarpOperation>> warps;
  bool atomics = false;  // has met an atomic operation, which orders it after earlier blocks
};

// The state of the launch in progress.
struct Launch {
  LaunchConfig config;
  uintptr_t parameters_begin = 0, parameters_end = 0;
  std::vector<std::unique_ptr<Block>> blocks;  // of the current cluster
  uint32_t cluster_number = 0;
  bool checking = true;
  std::string failure;
};

extern Fiber* current;  // null outside of kernels
extern Launch* launch;
extern int live_fibers;  // threads of the current cluster that have not returned
uint32_t random_below(uint32_t n);
void wake(Fiber* f);                        // may be picked again
void sleep(const char* what, Place place);  // until another fibre wakes this one
void leave_barriers(Block& block);          // one of its threads has returned
void reset_cluster_barrier();
Memory* find_memory(uintptr_t p);  // registered or shared; null if there is none
void begin_memory_checks();

}  // namespace emulator
