#include "data/hdf5/wire.h"

#include <memory>
#include <new>

namespace vitral::data {

Tensor tensor_of_own(const Shape& shape, DType dtype) {
  constexpr std::align_val_t alignment{64};
  const std::size_t bytes = static_cast<std::size_t>(shape.numel()) * size_of(dtype);
  const std::shared_ptr<void> memory(::operator new(bytes, alignment),
                                     [](void* p) { ::operator delete(p, alignment); });
  return Tensor::over(memory.get(), shape, dtype, memory);
}

}  // namespace vitral::data
