#include "tensor/collective.h"

#include "base/error.h"
#include "tensor/backend.h"

namespace vitral {
namespace {

const Backend& with_collectives(Device device) {
  const Backend& b = backend(device.kind);
  VITRAL_CHECK(b.open_collective, "collective: {} has no exchanges between processes", device.str());
  return b;
}

}  // namespace

std::string Collective::make_id(Device device) { return with_collectives(device).collective_id(); }

Collective::Collective(Device device, int rank, int size, const std::string& id)
    : device_(device),
      size_(size),
      collective_(with_collectives(device).open_collective(device.index, rank, size, id),
                  with_collectives(device).close_collective) {}

void Collective::all_to_all(Tensor& to, const Tensor& from) {
  VITRAL_CHECK(to.device() == device_ && from.device() == device_ && to.bytes() == from.bytes() &&
                   from.numel() % size_ == 0,
               "all_to_all: {} to {} is not {} equal pieces on {}", from.shape(), to.shape(), size_,
               device_.str());
  backend(device_.kind)
      .all_to_all(collective_.get(), to.raw(), from.raw(), from.bytes() / static_cast<std::size_t>(size_));
}

void Collective::all_gather(Tensor& to, const Tensor& from) {
  VITRAL_CHECK(to.device() == device_ && from.device() == device_ &&
                   to.bytes() == from.bytes() * static_cast<std::size_t>(size_),
               "all_gather: {} does not hold {} of each of {} processes on {}", to.shape(), from.shape(),
               size_, device_.str());
  backend(device_.kind).all_gather(collective_.get(), to.raw(), from.raw(), from.bytes());
}

}  // namespace vitral
