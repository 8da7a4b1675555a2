// VITRAL_SIMULATOR_PROTECT=1: the host cannot touch the memory of devices. Their pages are there only while
// the simulator runs what was queued.
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstring>

#include <sys/mman.h>
#include <unistd.h>

#include "runtime.h"

namespace simulator {
namespace {

int users = 0;
struct sigaction handler_before;

std::uintptr_t page() { return static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE)); }

const unsigned char* first_page(const unsigned char* data) {
  return data - reinterpret_cast<std::uintptr_t>(data) % page();
}

// The program is lost: all this does is say why. Whoever handled the signal before goes on.
void explain(int, siginfo_t* signal, void*) {
  const Locked state;
  const auto* const address = static_cast<const unsigned char*>(signal->si_addr);
  auto block = state->memory.upper_bound(address);
  if (block != state->memory.begin() && address < first_page((--block)->first) + block->second.mapping) {
    char text[160];
    const int length = std::snprintf(
        text, sizeof text, "CUDA simulator: %s, at %p, in or behind a block of %zu bytes at %p\n",
        users > 0 ? "memory that is not there" : "the host touched device memory", signal->si_addr,
        block->second.bytes, static_cast<const void*>(block->first));
    static_cast<void>(!write(STDERR_FILENO, text, static_cast<std::size_t>(length)));
  }
  sigaction(SIGSEGV, &handler_before, nullptr);
}

void install_handler() {
  static bool installed = false;
  if (std::exchange(installed, true)) return;
  struct sigaction action {};
  action.sa_sigaction = explain;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGSEGV, &action, &handler_before);
}

void set_access(int access) {
  const Locked state;
  for (const auto& [data, block] : state->memory)
    if (block.device >= 0 && block.mapping > 0)
      mprotect(const_cast<unsigned char*>(first_page(data)), block.mapping - page(), access);
}

}  // namespace

DeviceAccess::DeviceAccess() {
  if (!settings().protect || users++ > 0) return;
  install_handler();
  set_access(PROT_READ | PROT_WRITE);
}

DeviceAccess::~DeviceAccess() {
  if (settings().protect && --users == 0) set_access(PROT_NONE);
}

}  // namespace simulator
