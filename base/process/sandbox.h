// What a process may still do once it looks at what nobody can vouch for.
#pragma once

namespace vitral {

/// From here on this process may compute, ask for memory, and read and write the files and sockets that are
/// open. Every other system call (opening, connecting, starting, signalling) fails with EPERM: seccomp, by
/// the numbers of this architecture. False where the kernel has no such filter: nothing is forbidden then.
bool forbid_the_outside();

}  // namespace vitral
