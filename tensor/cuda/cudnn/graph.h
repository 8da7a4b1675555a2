// Graphs of cuDNN's operations, by its C interface (cudnn_graph.h, "backend API"): descriptors that hold
// attributes, of which tensors, operations, graphs and plans are made.
#pragma once
#include <array>
#include <cstdint>
#include <deque>
#include <span>
#include <stdexcept>
#include <utility>
#include <vector>

#include <cudnn.h>

#include "tensor/cuda/library.h"

#if CUDNN_VERSION < 91600
#error "cuDNN 9.16 or later is needed: build without VITRAL_CUDNN"
#endif

namespace vitral::cuda::cudnn {

struct Functions {
  VITRAL_CUDA_LIBRARY("cuDNN", "libcudnn.so." VITRAL_STRING(CUDNN_MAJOR),
                      "nvidia-cudnn-cu" VITRAL_STRING(VITRAL_CUDA_MAJOR));
  VITRAL_CUDA_FUNCTION(cudnnBackendCreateDescriptor);
  VITRAL_CUDA_FUNCTION(cudnnBackendDestroyDescriptor);
  VITRAL_CUDA_FUNCTION(cudnnBackendExecute);
  VITRAL_CUDA_FUNCTION(cudnnBackendFinalize);
  VITRAL_CUDA_FUNCTION(cudnnBackendGetAttribute);
  VITRAL_CUDA_FUNCTION(cudnnBackendSetAttribute);
  VITRAL_CUDA_FUNCTION(cudnnCreate);
  VITRAL_CUDA_FUNCTION(cudnnDestroy);
  VITRAL_CUDA_FUNCTION(cudnnGetErrorString);
  VITRAL_CUDA_FUNCTION(cudnnGetVersion);
  VITRAL_CUDA_FUNCTION(cudnnSetStream);
};

/// Loaded at the first call. Error: it is not installed.
inline const Functions& functions() {
  static const Functions all;
  return all;
}

/// cuDNN cannot do what a graph asks for.
class Refused : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

inline void require(cudnnStatus_t status) {
  if (status != CUDNN_STATUS_SUCCESS) throw Refused(functions().cudnnGetErrorString(status));
}

template <class T>
inline constexpr cudnnBackendAttributeType_t attribute_type{};
template <>
inline constexpr auto attribute_type<cudnnHandle_t> = CUDNN_TYPE_HANDLE;
template <>
inline constexpr auto attribute_type<cudnnDataType_t> = CUDNN_TYPE_DATA_TYPE;
template <>
inline constexpr auto attribute_type<bool> = CUDNN_TYPE_BOOLEAN;
template <>
inline constexpr auto attribute_type<double> = CUDNN_TYPE_DOUBLE;
template <>
inline constexpr auto attribute_type<std::int64_t> = CUDNN_TYPE_INT64;
template <>
inline constexpr auto attribute_type<void*> = CUDNN_TYPE_VOID_PTR;
template <>
inline constexpr auto attribute_type<cudnnBackendHeurMode_t> = CUDNN_TYPE_HEUR_MODE;
template <>
inline constexpr auto attribute_type<cudnnBackendNumericalNote_t> = CUDNN_TYPE_NUMERICAL_NOTE;
template <>
inline constexpr auto attribute_type<cudnnPointwiseMode_t> = CUDNN_TYPE_POINTWISE_MODE;
template <>
inline constexpr auto attribute_type<cudnnReduceTensorOp_t> = CUDNN_TYPE_REDUCTION_OPERATOR_TYPE;

class Descriptor {
 public:
  explicit Descriptor(cudnnBackendDescriptorType_t type) {
    require(functions().cudnnBackendCreateDescriptor(type, &raw_));
  }
  ~Descriptor() {
    if (raw_) functions().cudnnBackendDestroyDescriptor(raw_);
  }
  Descriptor(Descriptor&& other) noexcept : raw_(std::exchange(other.raw_, nullptr)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(raw_, other.raw_);
    return *this;
  }

  template <class T>
  Descriptor& set(cudnnBackendAttributeName_t name, std::span<const T> values) {
    return set(name, attribute_type<T>, values.size(), values.data());
  }
  template <class T>
  Descriptor& set(cudnnBackendAttributeName_t name, const T& value) {
    return set(name, attribute_type<T>, 1, &value);
  }
  Descriptor& set(cudnnBackendAttributeName_t name, const Descriptor& value) {
    return set(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value.raw_);
  }
  Descriptor& set_all(cudnnBackendAttributeName_t name, std::span<const cudnnBackendDescriptor_t> values) {
    return set(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, values.size(), values.data());
  }
  Descriptor& finalize() {
    require(functions().cudnnBackendFinalize(raw_));
    return *this;
  }

  /// How many values were there to get, up to `capacity`.
  std::int64_t get(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, std::int64_t capacity,
                   void* values) const {
    std::int64_t count = 0;
    require(functions().cudnnBackendGetAttribute(raw_, name, type, capacity, &count, values));
    return count;
  }
  cudnnBackendDescriptor_t raw() const { return raw_; }

 private:
  Descriptor& set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, std::size_t count,
                  const void* values) {
    require(functions().cudnnBackendSetAttribute(raw_, name, type, static_cast<std::int64_t>(count), values));
    return *this;
  }

  cudnnBackendDescriptor_t raw_ = nullptr;
};

/// Bytes; every address given to a graph is a multiple.
constexpr std::int64_t alignment = 16;

/// How a tensor of D dimensions lies in memory. All tensors of a graph have as many.
template <std::size_t D>
struct View {
  std::array<std::int64_t, D> sizes, strides;

  static View packed(const std::array<std::int64_t, D>& sizes) {
    View out{sizes, {}};
    std::int64_t step = 1;
    for (std::size_t d = D; d-- > 0; step *= sizes[d]) out.strides[d] = step;
    return out;
  }
  /// The last two dimensions exchanged.
  View transposed() const {
    View out = *this;
    std::swap(out.sizes[D - 1], out.sizes[D - 2]);
    std::swap(out.strides[D - 1], out.strides[D - 2]);
    return out;
  }
};

/// Operations between tensors, outputs first as everywhere. All arithmetic is in float32.
class Graph {
 public:
  using Node = const Descriptor*;

  /// In device memory, at an address that the caller gives under `id` when the graph is run.
  template <std::size_t D>
  Node tensor(std::int64_t id, cudnnDataType_t type, const View<D>& view) {
    return &keep(describe(id, type, view).finalize());
  }
  /// One float32 of the host, likewise.
  Node scalar(std::int64_t id) {
    return &keep(describe(id, CUDNN_DATA_FLOAT, View<4>::packed({1, 1, 1, 1}))
                     .set(CUDNN_ATTR_TENSOR_IS_BY_VALUE, true)
                     .finalize());
  }
  /// Between two operations; never in memory as a whole.
  template <std::size_t D>
  Node between(const View<D>& view, cudnnDataType_t type = CUDNN_DATA_FLOAT) {
    return &keep(describe(next_id_++, type, view).set(CUDNN_ATTR_TENSOR_IS_VIRTUAL, true).finalize());
  }

  Node matmul(Node c, Node a, Node b) {
    const Descriptor& how = keep(Descriptor(CUDNN_BACKEND_MATMUL_DESCRIPTOR)
                                     .set(CUDNN_ATTR_MATMUL_COMP_TYPE, CUDNN_DATA_FLOAT)
                                     .finalize());
    add(Descriptor(CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR)
            .set(CUDNN_ATTR_OPERATION_MATMUL_DESC, how)
            .set(CUDNN_ATTR_OPERATION_MATMUL_ADESC, *a)
            .set(CUDNN_ATTR_OPERATION_MATMUL_BDESC, *b)
            .set(CUDNN_ATTR_OPERATION_MATMUL_CDESC, *c));
    return c;
  }

  /// y = x OP b, or OP(x).
  Node pointwise(Node y, cudnnPointwiseMode_t mode, Node x, Node b = nullptr) {
    Descriptor operation = pointwise_operation(pointwise_mode(mode));
    operation.set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, *x).set(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, *y);
    if (b) operation.set(CUDNN_ATTR_OPERATION_POINTWISE_BDESC, *b);
    add(operation);
    return y;
  }

  /// y = x sigmoid(beta x)
  Node swish(Node y, Node x, double beta) {
    Descriptor operation = swish_operation(CUDNN_POINTWISE_SWISH_FWD, beta);
    operation.set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, *x).set(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, *y);
    add(operation);
    return y;
  }
  /// dx = dy times the derivative of swish at x.
  Node swish_backward(Node dx, Node dy, Node x, double beta) {
    Descriptor operation = swish_operation(CUDNN_POINTWISE_SWISH_BWD, beta);
    operation.set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, *x)
        .set(CUDNN_ATTR_OPERATION_POINTWISE_DYDESC, *dy)
        .set(CUDNN_ATTR_OPERATION_POINTWISE_DXDESC, *dx);
    add(operation);
    return dx;
  }

  /// The sum over every dimension that y has as 1.
  Node sum(Node y, Node x) {
    const Descriptor& how = keep(Descriptor(CUDNN_BACKEND_REDUCTION_DESCRIPTOR)
                                     .set(CUDNN_ATTR_REDUCTION_OPERATOR, CUDNN_REDUCE_TENSOR_ADD)
                                     .set(CUDNN_ATTR_REDUCTION_COMP_TYPE, CUDNN_DATA_FLOAT)
                                     .finalize());
    add(Descriptor(CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR)
            .set(CUDNN_ATTR_OPERATION_REDUCTION_DESC, how)
            .set(CUDNN_ATTR_OPERATION_REDUCTION_XDESC, *x)
            .set(CUDNN_ATTR_OPERATION_REDUCTION_YDESC, *y));
    return y;
  }

  /// The same numbers seen with y's sizes and strides, converted to its type.
  Node reshape(Node y, Node x) {
    add(Descriptor(CUDNN_BACKEND_OPERATION_RESHAPE_DESCRIPTOR)
            .set(CUDNN_ATTR_OPERATION_RESHAPE_XDESC, *x)
            .set(CUDNN_ATTR_OPERATION_RESHAPE_YDESC, *y));
    return y;
  }

  /// Takes the operation over.
  void add(Descriptor& operation) { operations_.push_back(keep(operation.finalize()).raw()); }

  std::span<const cudnnBackendDescriptor_t> operations() const { return operations_; }

 private:
  static Descriptor pointwise_mode(cudnnPointwiseMode_t mode) {
    Descriptor how(CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
    how.set(CUDNN_ATTR_POINTWISE_MODE, mode).set(CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_DATA_FLOAT);
    return how;
  }
  /// Takes the mode over.
  Descriptor pointwise_operation(Descriptor mode) {
    Descriptor operation(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
    operation.set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, keep(mode.finalize()));
    return operation;
  }
  Descriptor swish_operation(cudnnPointwiseMode_t mode, double beta) {
    Descriptor how = pointwise_mode(mode);
    how.set(CUDNN_ATTR_POINTWISE_SWISH_BETA, beta);
    return pointwise_operation(std::move(how));
  }
  template <std::size_t D>
  static Descriptor describe(std::int64_t id, cudnnDataType_t type, const View<D>& view) {
    Descriptor t(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    t.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, id)
        .set(CUDNN_ATTR_TENSOR_DATA_TYPE, type)
        .set(CUDNN_ATTR_TENSOR_DIMENSIONS, std::span<const std::int64_t>(view.sizes))
        .set(CUDNN_ATTR_TENSOR_STRIDES, std::span<const std::int64_t>(view.strides))
        .set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, alignment);
    return t;
  }
  const Descriptor& keep(Descriptor& d) { return kept_.emplace_back(std::move(d)); }

  std::deque<Descriptor> kept_;  // addresses of its elements stay
  std::vector<cudnnBackendDescriptor_t> operations_;
  std::int64_t next_id_ = 1000;
};

}  // namespace vitral::cuda::cudnn
