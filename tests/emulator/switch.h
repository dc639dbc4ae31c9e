// Switching between stacks: a few instructions on x86-64 (swapcontext would make two system calls),
// ucontext elsewhere.
#pragma once

#if defined(__x86_64__) && !defined(EMULATOR_UCONTEXT)

#include <cstdint>

extern "C" void emulator_switch(void** save, void* to);
asm(R"(
.text
.p2align 4
.globl emulator_switch
.hidden emulator_switch
.type emulator_switch,@function
emulator_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size emulator_switch,.-emulator_switch
)");

namespace emulator {

inline void switch_stacks(void** save, void* to) { emulator_switch(save, to); }

// The first switch to the result starts `entry`, which must not return.
inline void* prepare_stack(void* top, void (*entry)()) {
  auto** p = reinterpret_cast<void**>(reinterpret_cast<uintptr_t>(top) / 16 * 16);
  *--p = nullptr;  // entry's return address
  *--p = reinterpret_cast<void*>(entry);
  for (int i = 0; i < 6; ++i) *--p = nullptr;  // the registers that a switch restores
  return p;
}

}  // namespace emulator

#else

#include <ucontext.h>

#include <cstdint>

namespace emulator {

// A "stack pointer" is a ucontext_t at the far end of the stack (or, for the scheduler, static).
inline void switch_stacks(void** save, void* to) {
  static ucontext_t scheduler;
  if (*save == nullptr) *save = &scheduler;
  swapcontext(static_cast<ucontext_t*>(*save), static_cast<ucontext_t*>(to));
}

inline void* prepare_stack(void* top, void (*entry)()) {
  constexpr uintptr_t bytes = 200 << 10;  // of the 256 KB that scheduler.cpp takes
  const uintptr_t end = reinterpret_cast<uintptr_t>(top) / 64 * 64;
  auto* context = reinterpret_cast<ucontext_t*>((end - bytes - sizeof(ucontext_t)) / 64 * 64);
  getcontext(context);
  context->uc_stack.ss_sp = reinterpret_cast<void*>(end - bytes);
  context->uc_stack.ss_size = bytes;
  context->uc_link = nullptr;
  makecontext(context, entry, 0);
  return context;
}

}  // namespace emulator

#endif
