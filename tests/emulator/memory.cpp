// Checks of every access to memory: bounds, initialisation, races. The hooks are those that
// -fsanitize=thread calls.
#include <link.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <sstream>

#include "internal.h"

namespace emulator {
namespace {

std::map<uintptr_t, Memory> tensors;  // by their first address
uintptr_t module_begin = 0, module_end = 0;

// The addresses of this shared object: constants in it may be read.
void find_module() {
  const auto visit = [](dl_phdr_info* info, size_t, void*) {
    const auto here = reinterpret_cast<uintptr_t>(&find_module);
    uintptr_t begin = UINTPTR_MAX, end = 0;
    for (int i = 0; i < info->dlpi_phnum; ++i) {
      const auto& segment = info->dlpi_phdr[i];
      if (segment.p_type != PT_LOAD) continue;
      begin = std::min<uintptr_t>(begin, info->dlpi_addr + segment.p_vaddr);
      end = std::max<uintptr_t>(end, info->dlpi_addr + segment.p_vaddr + segment.p_memsz);
    }
    if (here < begin || here >= end) return 0;
    module_begin = begin;
    module_end = end;
    return 1;
  };
  dl_iterate_phdr(visit, nullptr);
}

// "ctc_forward.cu:123" for a return address in a kernel, if addr2line is there.
std::string source_line(const void* caller) {
  Dl_info info;
  if (caller == nullptr || dladdr(caller, &info) == 0) return "";
  std::ostringstream command;
  command << "addr2line -s -e '" << info.dli_fname << "' 0x" << std::hex
          << reinterpret_cast<uintptr_t>(caller) - reinterpret_cast<uintptr_t>(info.dli_fbase) - 1
          << " 2>/dev/null";
  std::string line;
  if (FILE* pipe = popen(command.str().c_str(), "r")) {
    char buffer[256];
    if (std::fgets(buffer, sizeof buffer, pipe) != nullptr) line = buffer;
    pclose(pipe);
  }
  while (!line.empty() && line.back() == '\n') line.pop_back();
  const size_t extra = line.find(" (");  // a discriminator
  return line.empty() || line[0] == '?' ? "" : " at " + line.substr(0, extra);
}

[[noreturn]] void complain(const char* problem, const char* verb, const Memory* memory, uintptr_t p,
                           size_t bytes, const void* caller) {
  std::ostringstream out;
  out << problem << ": " << verb << " of " << bytes << " bytes";
  if (memory != nullptr) {
    out << " at byte " << p - memory->begin << " of " << memory->end - memory->begin << " of "
        << memory->name;
  }
  report(out.str() + source_line(caller));
}

// Where an address outside all memory lies, for the report.
void complain_outside(const char* verb, uintptr_t p, size_t bytes, const void* caller) {
  std::ostringstream out;
  out << "out of bounds: " << verb << " of " << bytes << " bytes";
  const Memory* nearest = nullptr;
  uintptr_t least = UINTPTR_MAX;
  const auto look = [&](const Memory& m) {
    const uintptr_t distance = p < m.begin ? m.begin - p : p - m.end;
    if (distance < least) least = distance, nearest = &m;
  };
  for (const auto& [begin, m] : tensors) look(m);
  for (const auto& block : launch->blocks) look(block->memory);
  if (nearest != nullptr) {
    out << ", " << (p < nearest->begin ? nearest->begin - p : p - nearest->end) << " bytes "
        << (p < nearest->begin ? "before " : "beyond ") << nearest->name;
  }
  report(out.str() + source_line(caller));
}

// True if the access (thread, clock) came before everything the current thread does now.
bool before(const Clock& seen, uint16_t thread, uint32_t clock) {
  return clock == 0 || (thread < seen.size() && seen[thread] >= clock);
}

// Two accesses race if neither happens before the other. Blocks of other clusters ran at some other
// time; only an atomic operation orders them.
bool races(const Cell& cell, const Clock& seen, unsigned self, bool write) {
  if (cell.cluster == 0) return false;
  if (cell.cluster != launch->cluster_number) {
    const bool conflict = write || cell.write_clock != 0;
    const bool ordered = current == nullptr || current->block->atomics;
    return conflict && !ordered;
  }
  if (cell.writer != self && !before(seen, cell.writer, cell.write_clock)) return true;
  if (!write) return false;
  for (int i = 0; i < 2; ++i) {
    if (cell.reader[i] != self && !before(seen, cell.reader[i], cell.read_clock[i])) return true;
  }
  return false;
}

void note(Cell& cell, unsigned self, uint32_t clock, bool write) {
  if (cell.cluster != launch->cluster_number) {
    cell.write_clock = cell.read_clock[0] = cell.read_clock[1] = 0;
    cell.cluster = launch->cluster_number;
  }
  if (write) {
    cell.writer = static_cast<uint16_t>(self);
    cell.write_clock = clock;
  } else if (cell.reader[0] != self) {
    cell.reader[1] = cell.reader[0];
    cell.read_clock[1] = cell.read_clock[0];
    cell.reader[0] = static_cast<uint16_t>(self);
    cell.read_clock[0] = clock;
  } else {
    cell.read_clock[0] = clock;
  }
}

void check_cells(Memory& memory, uintptr_t p, size_t bytes, bool write, const Clock& seen,
                 unsigned self, const void* caller) {
  const uint32_t clock = self < seen.size() ? std::max<uint32_t>(seen[self], 1) : 1;
  const size_t first = p - memory.begin, last = first + bytes;
  for (size_t byte = first; byte < last; ++byte) {
    Cell& cell = memory.cells[byte / 2];
    if (!write && !cell.written[byte % 2]) {
      complain("uninitialised memory", "read", &memory, p, bytes, caller);
    }
    if (byte % 2 == 0 || byte == first) {
      if (races(cell, seen, self, write)) {
        complain("race", write ? "write" : "read", &memory, p, bytes, caller);
      }
      note(cell, self, clock, write);
    }
    if (write) cell.written[byte % 2] = true;
  }
}

void check(uintptr_t p, size_t bytes, bool write, const void* caller) {
  Fiber* self = current;
  if (self == nullptr || !launch->checking) return;
  if (p - self->stack_begin < self->stack_end - self->stack_begin) return;
  Memory* memory = find_memory(p);
  if (memory == nullptr) {
    const bool constant = (p >= launch->parameters_begin && p + bytes <= launch->parameters_end) ||
                          (p >= module_begin && p + bytes <= module_end);
    if (constant && !write) return;
    complain_outside(write ? "write" : "read", p, bytes, caller);
    return;
  }
  if (p + bytes > memory->end) {
    complain("out of bounds", write ? "write" : "read", memory, p, bytes, caller);
  }
  if (write && memory->access == Access::read) {
    complain("write to an input", "write", memory, p, bytes, caller);
  }
  check_cells(*memory, p, bytes, write, self->clock, self->number, caller);
  maybe_yield();
}

}  // namespace

void Memory::reset(bool initialised) {
  cells.assign((end - begin + 1) / 2, Cell());
  if (!initialised) return;
  for (Cell& cell : cells) cell.written[0] = cell.written[1] = true;
}

Memory* find_memory(uintptr_t p) {
  for (const auto& block : launch->blocks) {
    if (p >= block->memory.begin && p < block->memory.end) return &block->memory;
  }
  auto next = tensors.upper_bound(p);
  if (next == tensors.begin()) return nullptr;
  Memory& m = std::prev(next)->second;
  return p < m.end ? &m : nullptr;
}

void begin_memory_checks() {
  if (module_end == 0) find_module();
  for (auto& [begin, memory] : tensors) {  // launches are ordered
    for (Cell& cell : memory.cells) cell.cluster = 0, cell.write_clock = 0;
  }
}

void set_regions(const std::vector<Region>& regions) {
  tensors.clear();
  for (const Region& r : regions) {
    if (r.begin == r.end) continue;
    Memory& m = tensors[r.begin];
    if (m.begin != 0) throw Error(r.name + " and " + m.name + " are the same memory");
    m.name = r.name;
    m.begin = r.begin;
    m.end = r.end;
    m.access = r.access;
    m.reset(r.access != Access::write);
  }
  const Memory* previous = nullptr;
  for (const auto& [begin, m] : tensors) {
    const bool overlap = previous != nullptr && previous->end > begin;
    if (overlap && !(previous->access == Access::read && m.access == Access::read)) {
      throw Error(previous->name + " and " + m.name + " overlap");
    }
    previous = &m;
  }
}

std::vector<std::string> unwritten() {
  std::vector<std::string> result;
  for (const auto& [begin, m] : tensors) {
    for (size_t byte = 0; byte < m.end - m.begin; ++byte) {
      if (m.cells[byte / 2].written[byte % 2]) continue;
      result.push_back(m.name + ": byte " + std::to_string(byte) + " of " +
                       std::to_string(m.end - m.begin));
      break;
    }
  }
  return result;
}

void check_read(const void* p, size_t bytes) {
  check(reinterpret_cast<uintptr_t>(p), bytes, false, __builtin_return_address(0));
}
void check_write(const void* p, size_t bytes) {
  check(reinterpret_cast<uintptr_t>(p), bytes, true, __builtin_return_address(0));
}

void check_write_by(const Clock& clock, unsigned thread, const void* p, size_t bytes) {
  const auto address = reinterpret_cast<uintptr_t>(p);
  Memory* memory = find_memory(address);
  if (memory == nullptr || address + bytes > memory->end) {
    report("out of bounds: asynchronous write of " + std::to_string(bytes) + " bytes");
  }
  check_cells(*memory, address, bytes, true, clock, thread, nullptr);
}

void atomic_access(const void* p, size_t bytes) {
  const auto address = reinterpret_cast<uintptr_t>(p);
  Memory* memory = find_memory(address);
  if (memory == nullptr || address + bytes > memory->end || memory->access == Access::read) {
    report("out of bounds: atomic operation on " + std::to_string(bytes) + " bytes");
  }
  for (size_t byte = address - memory->begin; byte < address - memory->begin + bytes; ++byte) {
    if (!memory->cells[byte / 2].written[byte % 2]) {
      complain("uninitialised memory", "atomic operation", memory, address, bytes, nullptr);
    }
  }
  current->block->atomics = true;
  maybe_yield();
}

}  // namespace emulator

namespace emulator {
namespace {

// On a GPU a load of n bytes faults unless its address is a multiple of n.
void check_aligned(void* p, size_t bytes, bool write, const void* caller) {
  const auto address = reinterpret_cast<uintptr_t>(p);
  if (current != nullptr && launch->checking && address % bytes != 0) {
    complain("misaligned", write ? "write" : "read", find_memory(address), address, bytes, caller);
  }
  check(address, bytes, write, caller);
}

}  // namespace
}  // namespace emulator

// ---- the compiler's hooks -----------------------------------------------------------------------

#define CALLER __builtin_return_address(0)
#define HOOKS(bytes)                                                                     \
  void __tsan_read##bytes(void* p) { emulator::check_aligned(p, bytes, false, CALLER); } \
  void __tsan_write##bytes(void* p) { emulator::check_aligned(p, bytes, true, CALLER); } \
  void __tsan_unaligned_read##bytes(void* p) {                                           \
    emulator::check(uintptr_t(p), bytes, false, CALLER);                                 \
  }                                                                                      \
  void __tsan_unaligned_write##bytes(void* p) {                                          \
    emulator::check(uintptr_t(p), bytes, true, CALLER);                                  \
  }

extern "C" {
HOOKS(1)
HOOKS(2)
HOOKS(4)
HOOKS(8)
HOOKS(16)
void __tsan_read_range(void* p, size_t n) { emulator::check(uintptr_t(p), n, false, CALLER); }
void __tsan_write_range(void* p, size_t n) { emulator::check(uintptr_t(p), n, true, CALLER); }
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_init() {}
}
