// What threads wait for together: barriers of a block or a cluster, operations of a warp; and the
// clocks by which they know what they may see of each other.
#include <algorithm>
#include <cstring>
#include <map>

#include "internal.h"

namespace emulator {

namespace {

// Cluster barrier: arrivals of the current phase, and those who wait for its end.
int cluster_arrived = 0;
uint64_t cluster_phase = 0;
Clock cluster_clock, cluster_seen;
std::map<Fiber*, uint64_t> cluster_phase_of;

void join(Clock& into, const Clock& from) {
  if (into.size() < from.size()) into.resize(from.size(), 0);
  for (size_t i = 0; i < from.size(); ++i) into[i] = std::max(into[i], from[i]);
}

// Everything before is visible to everyone after.
void synchronise(const std::vector<Fiber*>& group) {
  Clock all;
  for (Fiber* f : group) join(all, f->clock);
  for (Fiber* f : group) {
    f->clock = all;
    ++f->clock[f->number];
  }
}

void open_barrier(Barrier& barrier) {
  synchronise(barrier.waiting);
  bool any = false;
  for (const Fiber* f : barrier.waiting) any = any || f->predicate;
  for (Fiber* f : barrier.waiting) {
    f->predicate = any;
    if (f != current) wake(f);
  }
  barrier.waiting.clear();
}

}  // namespace

void leave_barriers(Block& block) {
  // The threads that are left may be those that a barrier of the whole block waits for.
  Barrier& barrier = block.barriers[0];
  if (block.live > 0 && static_cast<int>(barrier.waiting.size()) == block.live) {
    open_barrier(barrier);
  }
}

void reset_cluster_barrier() {
  cluster_arrived = 0;
  cluster_phase = 0;
  cluster_clock.clear();
  cluster_phase_of.clear();
}

void block_barrier(int id, int count, Place place) {
  Block& block = *current->block;
  Barrier& barrier = block.barriers[id];
  if (count == 0) count = block.live;
  if (!barrier.waiting.empty()) {
    const Place other = barrier.waiting.front()->place;
    if (id == 0 && (other.line != place.line || std::strcmp(other.file, place.file) != 0)) {
      report("threads of one block wait at different barriers, lines " +
             std::to_string(other.line) + " and " + std::to_string(place.line));
    }
  }
  barrier.waiting.push_back(current);
  if (static_cast<int>(barrier.waiting.size()) >= count) {
    open_barrier(barrier);
    maybe_yield();
  } else {
    sleep("a barrier of the block", place);
  }
}

bool block_barrier_or(bool predicate, Place place) {
  Fiber* self = current;
  self->predicate = predicate;
  block_barrier(place);
  const bool any = self->predicate;
  self->predicate = false;
  return any;
}

void cluster_arrive(Place) {
  if (cluster_phase_of.count(current) != 0) report("a cluster barrier met twice without a wait");
  join(cluster_clock, current->clock);
  ++current->clock[current->number];
  cluster_phase_of[current] = cluster_phase;
  if (++cluster_arrived == live_fibers) {
    cluster_arrived = 0;
    ++cluster_phase;
    cluster_seen = cluster_clock;
  }
}

void cluster_wait(Place place) {
  const auto found = cluster_phase_of.find(current);
  if (found == cluster_phase_of.end()) report("a wait at a cluster barrier without an arrival");
  const uint64_t phase = found->second;
  wait_until("the cluster", [phase] { return cluster_phase > phase; }, place);
  cluster_phase_of.erase(current);
  join(current->clock, cluster_seen);
}

void warp_operation(unsigned mask, const char* name, void* operand, Combine combine, bool ordered,
                    Place place) {
  Fiber* self = current;
  auto& pending = self->block->warps[self->warp];
  if ((mask >> self->lane & 1) == 0) {
    report(std::string(name) + ": the calling lane is not in its mask");
  }
  for (Fiber* f : self->block->fibers) {
    if (f->warp == self->warp && (mask >> f->lane & 1) != 0 && f->finished) {
      report(std::string(name) + ": the mask names lane " + std::to_string(f->lane) +
             ", which has returned");
    }
  }
  auto found = std::find_if(pending.begin(), pending.end(),
                            [mask](const WarpOperation& o) { return o.mask == mask; });
  if (found == pending.end()) {
    WarpOperation operation;
    operation.mask = mask;
    operation.name = name;
    operation.place = place;
    pending.push_back(operation);
    found = pending.end() - 1;
  }
  if (std::strcmp(found->name, name) != 0 || found->place.line != place.line) {
    report(std::string("lanes of one warp at different operations: ") + found->name + ", line " +
           std::to_string(found->place.line) + ", and " + name + ", line " +
           std::to_string(place.line));
  }
  found->operands[self->lane] = operand;
  found->fibers[self->lane] = self;
  found->arrived |= 1U << self->lane;
  if (found->arrived != mask) {
    sleep(name, place);
    return;
  }
  const WarpOperation operation = *found;
  pending.erase(found);
  if (combine != nullptr) {
    launch->checking = false;  // operands lie on the stacks of other fibres
    combine(operation.operands);
    launch->checking = true;
  }
  std::vector<Fiber*> group;
  for (Fiber* f : operation.fibers) {
    if (f != nullptr) group.push_back(f);
  }
  if (ordered) synchronise(group);
  for (Fiber* f : group) {
    if (f != self) wake(f);
  }
  maybe_yield();
}

void release(Clock& clock) {
  join(clock, current->clock);
  ++current->clock[current->number];
}

void acquire(const Clock& clock) { join(current->clock, clock); }

}  // namespace emulator
