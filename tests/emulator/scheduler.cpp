// Fibres and their random schedule.
#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <numeric>
#include <sstream>

#include "internal.h"
#include "switch.h"

namespace emulator {

Fiber* current = nullptr;
Launch* launch = nullptr;
int live_fibers = 0;

namespace {

constexpr size_t kStackBytes = size_t(256) << 10;  // address space; only touched pages are memory
constexpr size_t kStackOffsets = 61;               // stacks start at different cache sets
constexpr uint32_t kYieldOnceIn = 48;              // accesses to memory
constexpr uint32_t kDeliverOnceIn = 4;             // switches, for `later`

uint64_t random_state = 1;
Device the_device;
int64_t launch_count = 0;
std::vector<std::unique_ptr<Fiber>> fibers;  // kept from launch to launch
void* scheduler_stack = nullptr;
Body body = nullptr;
const void* arguments = nullptr;
std::vector<Fiber*> runnable, polling;
std::vector<std::function<void()>> actions;

// Back to the scheduler; returns when the scheduler picks this fibre again.
void leave() {
  Fiber* self = current;
  switch_stacks(&self->stack_pointer, scheduler_stack);
}

void finish_fiber() {
  Fiber* self = current;
  Block& block = *self->block;
  self->finished = true;
  --live_fibers;
  --block.live;
  leave_barriers(block);
  leave();
  std::abort();  // never picked again
}

void fiber_main() {
  body(arguments);
  finish_fiber();
}

void make_stack(Fiber& f) {
  if (f.stack_begin == 0) {
    void* memory = mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    f.stack_begin = reinterpret_cast<uintptr_t>(memory);
    f.stack_end = f.stack_begin + kStackBytes;
  }
  const uintptr_t top = f.stack_end - 64 * (f.number % kStackOffsets);
  f.stack_pointer = prepare_stack(reinterpret_cast<void*>(top), fiber_main);
}

std::string describe(const Fiber& f) {
  std::ostringstream out;
  out << "thread (" << f.thread.x << "," << f.thread.y << "," << f.thread.z << ") of block ("
      << f.block->index.x << "," << f.block->index.y << "," << f.block->index.z << ")";
  return out.str();
}

// Who waits where: one line per place.
std::string deadlock() {
  std::map<std::string, std::pair<int, Fiber*>> places;
  int finished = 0;
  for (const auto& block : launch->blocks) {
    for (Fiber* f : block->fibers) {
      if (f->finished) {
        ++finished;
        continue;
      }
      const char* file = std::strrchr(f->place.file, '/');
      const std::string place = std::string(f->waits_for) + " at " +
                                (file ? file + 1 : f->place.file) + ":" +
                                std::to_string(f->place.line);
      auto& entry = places[place];
      if (entry.first++ == 0) entry.second = f;
    }
  }
  std::ostringstream out;
  out << "deadlock: " << finished << " threads have returned";
  for (const auto& [place, entry] : places) {
    out << "; " << entry.first << " wait for " << place << ", among them "
        << describe(*entry.second);
  }
  return out.str();
}

// Moves waiting fibres whose condition now holds to the runnable ones.
void poll() {
  for (size_t i = 0; i < polling.size();) {
    Fiber* f = polling[i];
    if ((*f->ready)()) {
      polling[i] = polling.back();
      polling.pop_back();
      wake(f);
    } else {
      ++i;
    }
  }
}

void run_action() {
  const uint32_t k = random_below(static_cast<uint32_t>(actions.size()));
  std::function<void()> action = std::move(actions[k]);
  actions[k] = std::move(actions.back());
  actions.pop_back();
  action();
}

void schedule() {
  while (live_fibers > 0) {
    if (!actions.empty() && (runnable.empty() || random_below(kDeliverOnceIn) == 0)) run_action();
    if (!polling.empty()) poll();
    if (runnable.empty()) {
      if (!actions.empty()) continue;
      throw Error(deadlock());
    }
    const uint32_t k = random_below(static_cast<uint32_t>(runnable.size()));
    current = runnable[k];
    runnable[k] = runnable.back();
    runnable.pop_back();
    switch_stacks(&scheduler_stack, current->stack_pointer);
    Fiber* ran = current;
    current = nullptr;
    if (!launch->failure.empty()) throw Error(launch->failure);
    if (!ran->finished && ran->runnable) runnable.push_back(ran);
  }
  while (!actions.empty()) run_action();  // stores into a block that has returned are reported
}

std::unique_ptr<Block> make_block(const LaunchConfig& config, Index3 index, unsigned rank) {
  auto block = std::make_unique<Block>();
  block->index = index;
  block->rank = rank;
  // Poison: NaN for every floating type. 1024 bytes: the largest alignment that any hardware needs.
  const size_t bytes = config.shared_bytes;
  block->storage.reset(new unsigned char[bytes + 2048]);
  block->shared = reinterpret_cast<unsigned char*>(
      (reinterpret_cast<uintptr_t>(block->storage.get()) + 1023) / 1024 * 1024);
  std::memset(block->shared, 0xff, bytes);
  block->memory.name = "shared memory";
  block->memory.begin = reinterpret_cast<uintptr_t>(block->shared);
  block->memory.end = block->memory.begin + bytes;
  block->memory.shared = true;
  block->memory.reset(false);
  return block;
}

void add_threads(Block& block, const LaunchConfig& config) {
  const Index3 size = config.block;
  const unsigned threads = size.x * size.y * size.z;
  const unsigned clustered = threads * config.cluster;
  block.live = static_cast<int>(threads);
  block.warps.resize((threads + 31) / 32);
  for (unsigned i = 0; i < threads; ++i) {
    const unsigned number = block.rank * threads + i;
    while (fibers.size() <= number) fibers.push_back(std::make_unique<Fiber>());
    Fiber& f = *fibers[number];
    f.thread = {i % size.x, i / size.x % size.y, i / (size.x * size.y)};
    f.number = number;
    f.lane = i % 32;
    f.warp = i / 32;
    f.block = &block;
    f.finished = false;
    f.predicate = false;
    f.clock.assign(clustered, 0);
    f.clock[number] = 1;
    make_stack(f);
    wake(&f);
    block.fibers.push_back(&f);
    ++live_fibers;
  }
}

void run_cluster(const LaunchConfig& config, uint32_t first_block) {
  launch->blocks.clear();
  runnable.clear();
  polling.clear();
  actions.clear();
  live_fibers = 0;
  reset_cluster_barrier();
  ++launch->cluster_number;
  const Index3 grid = config.grid;
  for (unsigned rank = 0; rank < config.cluster; ++rank) {
    const uint32_t b = first_block + rank;
    launch->blocks.push_back(
        make_block(config, {b % grid.x, b / grid.x % grid.y, b / (grid.x * grid.y)}, rank));
  }
  for (const auto& block : launch->blocks) add_threads(*block, config);
  schedule();
}

}  // namespace

uint32_t random_below(uint32_t n) {  // xorshift64*
  random_state ^= random_state >> 12;
  random_state ^= random_state << 25;
  random_state ^= random_state >> 27;
  return static_cast<uint32_t>((random_state * 2685821657736338717ULL) >> 33) % n;
}

void seed(uint64_t value) { random_state = value * 0x9e3779b97f4a7c15ULL + 1; }

Device& device() { return the_device; }
int64_t launches() { return launch_count; }

void run(const LaunchConfig& config, Body kernel, const void* parameters, size_t parameter_bytes) {
  static std::mutex one_at_a_time;
  const std::lock_guard<std::mutex> lock(one_at_a_time);
  ++launch_count;
  Launch state;
  state.config = config;
  state.parameters_begin = reinterpret_cast<uintptr_t>(parameters);
  state.parameters_end = state.parameters_begin + parameter_bytes;
  struct Reset {
    ~Reset() { launch = nullptr, current = nullptr; }
  } reset;
  launch = &state;
  body = kernel;
  arguments = parameters;
  begin_memory_checks();
  const uint32_t blocks = config.grid.x * config.grid.y * config.grid.z;
  std::vector<uint32_t> order(blocks / config.cluster);
  std::iota(order.begin(), order.end(), 0U);
  for (size_t i = order.size(); i > 1; --i) {
    std::swap(order[i - 1], order[random_below(static_cast<uint32_t>(i))]);
  }
  for (const uint32_t k : order) run_cluster(config, k * config.cluster);
}

void report(const std::string& problem) {
  if (current == nullptr) throw Error(problem);  // by an action of the scheduler
  launch->failure = problem + ", by " + describe(*current);
  leave();
  std::abort();
}

Index3 thread_index() { return current->thread; }
Index3 block_index() { return current->block->index; }
Index3 block_size() { return launch->config.block; }
Index3 grid_size() { return launch->config.grid; }
unsigned cluster_rank() { return current->block->rank; }
unsigned cluster_size() { return launch->config.cluster; }
unsigned lane_index() { return current->lane; }
unsigned thread_number() { return current->number; }

unsigned char* shared_memory() { return current->block->shared; }
unsigned char* shared_memory_of(unsigned rank) {
  if (rank >= launch->blocks.size()) {
    report("block " + std::to_string(rank) + " is not in this cluster");
  }
  return launch->blocks[rank]->shared;
}
unsigned char* map_shared(const void* p, unsigned rank) {
  const Memory& own = current->block->memory;
  const auto address = reinterpret_cast<uintptr_t>(p);
  if (address < own.begin || address >= own.end) {
    report("an address outside shared memory mapped to another block");
  }
  return shared_memory_of(rank) + (address - own.begin);
}

void wake(Fiber* f) {
  f->waits_for = nullptr;
  f->runnable = true;
  runnable.push_back(f);
}

void sleep(const char* what, Place place) {
  current->waits_for = what;
  current->place = place;
  current->runnable = false;
  leave();
}

void wait_until(const char* what, const std::function<bool()>& ready, Place place) {
  if (ready()) {
    maybe_yield();
    return;
  }
  current->ready = &ready;
  polling.push_back(current);
  sleep(what, place);
}

void later(std::function<void()> action) { actions.push_back(std::move(action)); }

void maybe_yield() {
  if (random_below(kYieldOnceIn) == 0) leave();
}

}  // namespace emulator
