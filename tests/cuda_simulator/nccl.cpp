// NCCL between processes of one machine: each has a letter box in shared memory, into which it puts what it
// sends in a round (a group of sends and receives), for whom and how much; the others take it from there.
// Rounds are queued like kernels, so that one that starts before its data are there, or whose memory is
// reused too early, gives wrong numbers.
#include "nccl.h"

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "runtime.h"

using simulator::push;

namespace {

constexpr int most = 8;  // processes
constexpr std::size_t capacity = std::size_t{16} << 20;

struct Box {
  std::atomic<long> filled, emptied;  // rounds
  std::size_t bytes[most];            // for each process; they lie one behind the other
  unsigned char data[capacity];
};

struct Shared {
  std::atomic<int> there;
  int device[most];
  Box boxes[most];
};

struct Transfer {
  bool sends;
  int peer;
  const void* from;
  void* to;
  std::size_t bytes;
};

[[noreturn]] void fail(const char* what) {
  std::fprintf(stderr, "simulator: NCCL: %s\n", what);
  std::abort();
}

// A round that others do not join never ends.
template <class Done>
void wait_until(Done&& done, const char* what) {
  const auto start = std::chrono::steady_clock::now();
  while (!done()) {
    if (std::chrono::steady_clock::now() - start > std::chrono::minutes(2)) fail(what);
    std::this_thread::sleep_for(std::chrono::microseconds(50));
  }
}

thread_local int groups = 0;
thread_local ncclComm_t group_comm = nullptr;
thread_local cudaStream_t group_stream = nullptr;
thread_local std::vector<Transfer> group;
thread_local std::string last_error;

ncclResult_t refuse(const char* what) {
  last_error = what;
  return ncclInvalidUsage;
}

bool on_device(const void* address, std::size_t bytes, int device) {
  bool fits = false;
  const auto* block = simulator::find_memory(address, bytes, &fits);
  return bytes == 0 || (block && fits && block->device == device);
}

}  // namespace

struct ncclComm {
  Shared* shared;
  int rank, size, device;
  long round = 0;

  void run(const std::vector<Transfer>& transfers);
};

void ncclComm::run(const std::vector<Transfer>& transfers) {
  ++round;
  Box& own = shared->boxes[rank];
  for (int p = 0; p < size; ++p)
    wait_until([&] { return shared->boxes[p].emptied >= round - 1; }, "a process did not take what was sent");
  std::size_t at = 0;
  std::memset(own.bytes, 0, sizeof own.bytes);
  for (int p = 0; p < size; ++p)
    for (const Transfer& t : transfers) {
      if (!t.sends || t.peer != p) continue;
      if (own.bytes[p] > 0) fail("two messages to one process in a round");
      if (at + t.bytes > capacity) fail("the messages of a round are too large for the simulator");
      if (!simulator::settings().dry) std::memcpy(own.data + at, t.from, t.bytes);
      own.bytes[p] = t.bytes;
      at += t.bytes;
    }
  own.filled = round;
  for (const Transfer& t : transfers) {
    if (t.sends) continue;
    Box& box = shared->boxes[t.peer];
    wait_until([&] { return box.filled >= round; }, "a process did not join a round");
    std::size_t begin = 0;
    for (int p = 0; p < rank; ++p) begin += box.bytes[p];
    if (box.bytes[rank] != t.bytes) fail("a message has another size than its receiver expects");
    if (!simulator::settings().dry) std::memcpy(t.to, box.data + begin, t.bytes);
  }
  own.emptied = round;
}

const char* ncclGetErrorString(ncclResult_t result) {
  return result == ncclSuccess ? "no error" : result == ncclInvalidUsage ? "invalid usage" : "system error";
}
const char* ncclGetLastError(ncclComm_t) { return last_error.c_str(); }

ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  std::memset(id, 0, sizeof *id);
  std::snprintf(id->internal, sizeof id->internal, "/vitral-nccl-%d-%lld", static_cast<int>(getpid()),
                static_cast<long long>(std::chrono::steady_clock::now().time_since_epoch().count()));
  return ncclSuccess;
}

ncclResult_t ncclCommInitRank(ncclComm_t* comm, int size, ncclUniqueId id, int rank) {
  if (size > most || rank < 0 || rank >= size) return refuse("too many processes for the simulator");
  const int file = shm_open(id.internal, O_RDWR | O_CREAT, 0600);
  if (file < 0 || ftruncate(file, sizeof(Shared)) != 0) return ncclSystemError;
  void* memory = mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  if (memory == MAP_FAILED) return ncclSystemError;
  auto* shared = static_cast<Shared*>(memory);  // zeros
  shared->device[rank] = simulator::current_device();
  ++shared->there;
  wait_until([&] { return shared->there == size; }, "not all processes came");
  if (rank == 0) shm_unlink(id.internal);
  for (int p = 0; p < size; ++p)
    if (p != rank && shared->device[p] == shared->device[rank]) return refuse("Duplicate GPU detected");
  *comm = new ncclComm{shared, rank, size, simulator::current_device()};
  return ncclSuccess;
}

ncclResult_t ncclCommAbort(ncclComm_t comm) {
  simulator::drain(comm->device);
  munmap(comm->shared, sizeof(Shared));
  delete comm;
  return ncclSuccess;
}

ncclResult_t ncclGroupStart() {
  ++groups;
  return ncclSuccess;
}

ncclResult_t ncclGroupEnd() {
  if (groups == 0) return refuse("a group ends that has not begun");
  if (--groups > 0 || group.empty()) return ncclSuccess;
  const cudaError_t status =
      push(group_stream, [comm = group_comm, transfers = std::move(group)] { comm->run(transfers); });
  group.clear();
  return status == cudaSuccess ? ncclSuccess : ncclInvalidUsage;
}

namespace {

ncclResult_t add(const Transfer& t, ncclComm_t comm, cudaStream_t stream) {
  if (groups == 0) return refuse("a send or receive outside of a group");
  if (!on_device(t.sends ? t.from : t.to, t.bytes, comm->device)) return refuse("not memory of this device");
  group.push_back(t);
  group_comm = comm;
  group_stream = stream;
  return ncclSuccess;
}

}  // namespace

ncclResult_t ncclSend(const void* from, std::size_t count, ncclDataType_t, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
  return add({true, peer, from, nullptr, count}, comm, stream);
}
ncclResult_t ncclRecv(void* to, std::size_t count, ncclDataType_t, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
  return add({false, peer, nullptr, to, count}, comm, stream);
}
ncclResult_t ncclAllGather(const void* from, void* to, std::size_t count, ncclDataType_t type,
                           ncclComm_t comm, cudaStream_t stream) {
  ncclGroupStart();
  for (int p = 0; p < comm->size; ++p) {
    ncclResult_t status = ncclSend(from, count, type, p, comm, stream);
    if (status == ncclSuccess)
      status = ncclRecv(static_cast<char*>(to) + count * static_cast<std::size_t>(p), count, type, p, comm,
                        stream);
    if (status != ncclSuccess) return status;
  }
  return ncclGroupEnd();
}
