#include "fiber.h"

#include <array>
#include <cstdint>
#include <cstring>
#include <exception>
#include <new>

#include <sys/mman.h>

#if defined(__SANITIZE_ADDRESS__)
#define SIMULATOR_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SIMULATOR_ASAN 1
#endif
#endif
#ifdef SIMULATOR_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

// swapcontext makes two system calls a switch, which would be most of the time that tests take.
#if !defined(__x86_64__) && !defined(__aarch64__)
#define SIMULATOR_UCONTEXT 1
#endif
#ifdef SIMULATOR_UCONTEXT
#include <ucontext.h>
#endif

namespace simulator {

namespace {

// Pages that nobody touches cost nothing; at -O0 and with sanitizers frames are large.
constexpr std::size_t stack_bytes = std::size_t{256} << 10;
// Little more than the stack holds damages nothing: below the canary is room.
constexpr std::size_t room = std::size_t{8} << 10;
constexpr std::array<std::uint64_t, 8> canary{1, 2, 3, 5, 8, 13, 21, 34};

// The switch under way: whom it leaves, for AddressSanitizer, and whom it enters.
Fiber* leaving = nullptr;
Fiber* entering = nullptr;

}  // namespace

#ifdef SIMULATOR_UCONTEXT

namespace {
void switch_context(void*& from, void* to) {
  ucontext_t here;
  from = &here;
  swapcontext(&here, static_cast<ucontext_t*>(to));
}
void* first_context(unsigned char* stack, std::size_t size, Entry entry) {
  auto* context = reinterpret_cast<ucontext_t*>(stack + size - sizeof(ucontext_t));
  getcontext(context);
  context->uc_stack.ss_sp = stack;
  context->uc_stack.ss_size = size - sizeof(ucontext_t) - 64;
  context->uc_link = nullptr;
  makecontext(context, entry, 0);
  return context;
}
}  // namespace

#else

// Saves what a function must keep (System V on x86-64, AAPCS64 on aarch64) and the stack's place in *from,
// takes the other stack and returns there. A new stack holds zeros for the registers and the entry.
extern "C" void simulator_switch_context(void** from, void* to);

#ifdef __x86_64__
asm(R"(
.text
.globl simulator_switch_context
.type simulator_switch_context,@function
simulator_switch_context:
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
.size simulator_switch_context,.-simulator_switch_context
)");
#else
asm(R"(
.text
.globl simulator_switch_context
.type simulator_switch_context,%function
simulator_switch_context:
  sub sp, sp, #160
  stp x19, x20, [sp, #0]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x9, sp
  str x9, [x0]
  mov sp, x1
  ldp x19, x20, [sp, #0]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
.size simulator_switch_context,.-simulator_switch_context
)");
#endif

namespace {

void switch_context(void*& from, void* to) { simulator_switch_context(&from, to); }

void* first_context(unsigned char* stack, std::size_t size, Entry entry) {
#ifdef __x86_64__
  // Six registers, the entry, and zero as the address that the entry would return to: there a debugger's
  // backtrace ends. With them the entry finds the stack aligned as after a call.
  constexpr std::size_t words = 8, entry_word = 6;
#else
  constexpr std::size_t words = 20, entry_word = 11;
#endif
  void** frame = reinterpret_cast<void**>(stack + size) - words;
  std::memset(frame, 0, words * sizeof(void*));
  frame[entry_word] = reinterpret_cast<void*>(entry);
  return frame;
}

}  // namespace

#endif

void Fiber::start(Entry entry) {
  if (!stack_) {
    void* memory = mmap(nullptr, stack_bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    // Stacks whose tops differ by a multiple of 4 KiB only would fight for the same sets of the cache.
    static std::size_t stacks = 0;
    stack_ = static_cast<unsigned char*>(memory);
    size_ = stack_bytes - stacks++ % 16 * 256;
    std::memcpy(stack_ + room, canary.data(), sizeof canary);
  }
#ifdef SIMULATOR_ASAN
  // Marks around the frames that finish() left behind; all others were taken away when they returned.
  __asan_unpoison_memory_region(stack_ + size_ - 8192, 8192);
#endif
  bottom_ = stack_;
  fake_stack_ = nullptr;
  entry_ = entry;
  context_ = first_context(stack_, size_, enter);
}

void Fiber::arrive([[maybe_unused]] Fiber& self) {
#ifdef SIMULATOR_ASAN
  __sanitizer_finish_switch_fiber(self.fake_stack_, &leaving->bottom_, &leaving->size_);
#endif
}

void Fiber::enter() {
  Fiber& self = *entering;
  arrive(self);
  self.entry_();
  std::terminate();
}

void Fiber::change(Fiber& from, Fiber& to) {
  leaving = &from;
  entering = &to;
#ifdef SIMULATOR_ASAN
  __sanitizer_start_switch_fiber(&from.fake_stack_, to.bottom_, to.size_);
#endif
  switch_context(from.context_, to.context_);
  arrive(from);
}

void Fiber::finish(Fiber& from, Fiber& to) {
  leaving = &from;
  entering = &to;
#ifdef SIMULATOR_ASAN
  __sanitizer_start_switch_fiber(nullptr, to.bottom_, to.size_);  // null: its fake stack may go
#endif
  switch_context(from.context_, to.context_);
  std::terminate();
}

bool Fiber::intact() const {
  return !stack_ || std::memcmp(stack_ + room, canary.data(), sizeof canary) == 0;
}

}  // namespace simulator
