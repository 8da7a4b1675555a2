#include "base/process/sandbox.h"

#include <array>
#include <cerrno>
#include <cstddef>
#include <vector>

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

namespace vitral {
namespace {

#if defined(__x86_64__)
constexpr unsigned architecture = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr unsigned architecture = AUDIT_ARCH_AARCH64;
#else
constexpr unsigned architecture = 0;
#endif

constexpr std::array allowed{
    SYS_read,         SYS_write,       SYS_pread64,         SYS_pwrite64,      SYS_readv,
    SYS_writev,       SYS_recvfrom,    SYS_sendto,          SYS_ftruncate,     SYS_fsync,
    SYS_fstat,        SYS_lseek,       SYS_close,  // of what is open
    SYS_brk,          SYS_mmap,        SYS_munmap,          SYS_mremap,        SYS_mprotect,
    SYS_madvise,      SYS_futex,       SYS_sched_yield,     SYS_clock_gettime, SYS_gettimeofday,
    SYS_getpid,       SYS_gettid,      SYS_getrandom,       SYS_rt_sigaction,  SYS_rt_sigprocmask,
#ifdef __SANITIZE_ADDRESS__
    SYS_pipe2,  // by which the sanitizers look at memory
#endif
    SYS_rt_sigreturn, SYS_sigaltstack, SYS_restart_syscall, SYS_exit,          SYS_exit_group};

}  // namespace

bool forbid_the_outside() {
  if (architecture == 0) return false;
  // Berkeley packet filters read the number of the call and its architecture; numbers of other architectures
  // mean other calls.
  std::vector<sock_filter> rules{
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, architecture, 1, 0),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
  };
  for (const long number : allowed) {
    rules.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<unsigned>(number), 0, 1));
    rules.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  }
  rules.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM));
  const sock_fprog program{static_cast<unsigned short>(rules.size()), rules.data()};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

}  // namespace vitral
