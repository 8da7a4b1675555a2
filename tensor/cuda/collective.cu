// NCCL by its C API. It is loaded when several processes train on GPUs (tensor/cuda/library.h), so that a
// program that does not needs no NCCL; a build without its header has no exchanges.
#include <cstring>
#include <memory>

#include "base/error.h"
#include "base/text.h"
#include "tensor/cuda/collective.h"
#include "tensor/cuda/launch.h"
#include "tensor/cuda/library.h"

#if __has_include(<nccl.h>)
#include <nccl.h>
#define VITRAL_NCCL
#endif

namespace vitral::cuda {

#ifdef VITRAL_NCCL
namespace {

struct Nccl {
  VITRAL_CUDA_LIBRARY("NCCL", "libnccl.so.2", "nvidia-nccl-cu" VITRAL_STRING(VITRAL_CUDA_MAJOR));
  VITRAL_CUDA_FUNCTION(ncclGetUniqueId);
  VITRAL_CUDA_FUNCTION(ncclCommInitRank);
  VITRAL_CUDA_FUNCTION(ncclCommAbort);
  VITRAL_CUDA_FUNCTION(ncclGroupStart);
  VITRAL_CUDA_FUNCTION(ncclGroupEnd);
  VITRAL_CUDA_FUNCTION(ncclSend);
  VITRAL_CUDA_FUNCTION(ncclRecv);
  VITRAL_CUDA_FUNCTION(ncclAllGather);
  VITRAL_CUDA_FUNCTION(ncclGetErrorString);
  VITRAL_CUDA_FUNCTION(ncclGetLastError);
};

const Nccl& nccl() {
  static const Nccl functions;
  return functions;
}

struct Communicator {
  ncclComm_t comm = nullptr;
  int index = 0, size = 0;
};

void check(ncclResult_t status, const char* operation, ncclComm_t comm = nullptr) {
  if (status == ncclSuccess) return;
  const char* detail = nccl().ncclGetLastError(comm);
  throw_error("NCCL: {}: {}{}{}; NCCL_DEBUG=INFO says more", operation, nccl().ncclGetErrorString(status),
              detail && *detail ? ": " : "", detail ? one_line(detail) : "");
}

}  // namespace

std::string collective_id() {
  ncclUniqueId id;
  check(nccl().ncclGetUniqueId(&id), "ncclGetUniqueId");
  return {id.internal, sizeof id.internal};
}

void* open_collective(int index, int rank, int size, const std::string& id) {
  stream({Device::Kind::cuda, index});  // makes the device current
  ncclUniqueId unique;
  VITRAL_CHECK(id.size() == sizeof unique.internal, "NCCL: an id of {} bytes, must be {}", id.size(),
               sizeof unique.internal);
  std::memcpy(unique.internal, id.data(), id.size());
  auto c = std::make_unique<Communicator>(Communicator{.index = index, .size = size});
  check(nccl().ncclCommInitRank(&c->comm, size, unique, rank), "ncclCommInitRank");
  return c.release();
}

// Aborted, not destroyed: that would wait for processes that may have gone.
void close_collective(void* collective) {
  const std::unique_ptr<Communicator> c(static_cast<Communicator*>(collective));
  if (c && c->comm) nccl().ncclCommAbort(c->comm);
}

void all_to_all(void* collective, void* to, const void* from, std::size_t bytes) {
  const auto& c = *static_cast<const Communicator*>(collective);
  const cudaStream_t s = stream({Device::Kind::cuda, c.index});
  check(nccl().ncclGroupStart(), "ncclGroupStart", c.comm);
  for (int p = 0; p < c.size; ++p) {
    const std::size_t at = bytes * static_cast<std::size_t>(p);
    check(nccl().ncclSend(static_cast<const char*>(from) + at, bytes, ncclUint8, p, c.comm, s), "ncclSend",
          c.comm);
    check(nccl().ncclRecv(static_cast<char*>(to) + at, bytes, ncclUint8, p, c.comm, s), "ncclRecv", c.comm);
  }
  check(nccl().ncclGroupEnd(), "ncclGroupEnd", c.comm);
}

void all_gather(void* collective, void* to, const void* from, std::size_t bytes) {
  const auto& c = *static_cast<const Communicator*>(collective);
  check(nccl().ncclAllGather(from, to, bytes, ncclUint8, c.comm, stream({Device::Kind::cuda, c.index})),
        "ncclAllGather", c.comm);
}

#else

namespace {

[[noreturn]] void missing() {
  throw UsageError(
      "several processes on GPUs need NCCL: this vitral was built without nccl.h; set "
      "train.device=cpu, or start one process");
}

}  // namespace

std::string collective_id() { missing(); }
void* open_collective(int, int, int, const std::string&) { missing(); }
void close_collective(void*) {}
void all_to_all(void*, void*, const void*, std::size_t) { missing(); }
void all_gather(void*, void*, const void*, std::size_t) { missing(); }

#endif

}  // namespace vitral::cuda
