// Operations of two tensors with broadcasting, at the speed of the memory. Where both operands have y's shape
// the work is that of elements.h. Else a thread makes two packs of y, 16 bytes each: it splits the pack's
// number into one index for each loop of the broadcast (tensor/ops/binary.h), and an operand either steps
// with the pack, and is read 16 bytes at a time, or is one number for all of it.
#include "tensor/cuda/divider.h"
#include "tensor/cuda/elements.h"
#include "tensor/ops/binary.h"

namespace vitral {
namespace {

using cuda::acc_t;

struct Add {
  template <class A>
  __device__ A operator()(A u, A v) const {
    return u + v;
  }
};
struct Sub {
  template <class A>
  __device__ A operator()(A u, A v) const {
    return u - v;
  }
};
struct Mul {
  template <class A>
  __device__ A operator()(A u, A v) const {
    return u * v;
  }
};
struct Div {
  template <class A>
  __device__ A operator()(A u, A v) const {
    return u / v;
  }
};
struct Minimum {  // NaN where one of them is
  template <class A>
  __device__ A operator()(A u, A v) const {
    return v < u || v != v ? v : u;
  }
};
struct LessEqual {
  template <class A>
  __device__ A operator()(A u, A v) const {
    return u <= v ? A(1) : A(0);
  }
};

template <class F>
void dispatch_op(BinaryOp op, F&& f) {
  switch (op) {
    case BinaryOp::add:
      return f(Add{});
    case BinaryOp::sub:
      return f(Sub{});
    case BinaryOp::mul:
      return f(Mul{});
    case BinaryOp::div:
      return f(Div{});
    case BinaryOp::minimum:
      return f(Minimum{});
    case BinaryOp::less_equal:
      return f(LessEqual{});
  }
}

/// An operation on numbers as they are stored.
template <class Op, class T>
struct OnStored {
  __device__ T operator()(T u, T v) const { return cuda::store<T>(Op{}(cuda::load(u), cuda::load(v))); }
};

/// The loops of a broadcast, the innermost counted in packs; strides in elements.
template <class Index>
struct DeviceLoops {
  DeviceLoops(const BroadcastLoops& loops, int pack)
      : outer(loops.rank - 1), step_a(loops.stride_a[0]), step_b(loops.stride_b[0]) {
    packs = cuda::Divider<Index>(loops.size[0] / pack);
    for (int k = 0; k < outer; ++k) {
      const auto from = static_cast<std::size_t>(k + 1);
      size[k] = cuda::Divider<Index>(loops.size[from]);
      stride_a[k] = loops.stride_a[from];
      stride_b[k] = loops.stride_b[from];
    }
  }
  int outer;
  std::int64_t step_a, step_b;  // 1 or 0
  cuda::Divider<Index> packs, size[Shape::max_rank - 1];
  std::int64_t stride_a[Shape::max_rank - 1], stride_b[Shape::max_rank - 1];
};

template <int n, class T>
__device__ __forceinline__ cuda::Pack<T, n> load_or_repeat(const T* from, std::int64_t step) {
  if (step == 1) return cuda::load_pack<n>(from);
  const T one = *from;
  cuda::Pack<T, n> p;
#pragma unroll
  for (int j = 0; j < n; ++j) p.v[j] = one;
  return p;
}

template <int n, class Op, class T, class Index>
__global__ void __launch_bounds__(cuda::map_threads)
    broadcast_kernel(T* y, const T* a, const T* b, DeviceLoops<Index> loops, std::int64_t packs) {
  cuda::Packs<T, n> from_a, from_b;
#pragma unroll
  for (int k = 0; k < cuda::map_packs; ++k) {
    const std::int64_t i = cuda::first_pack() + k * cuda::map_threads;
    if (i >= packs) continue;
    auto [row, column] = loops.packs.split(static_cast<Index>(i));
    const std::int64_t element = static_cast<std::int64_t>(column) * n;
    std::int64_t at_a = element * loops.step_a, at_b = element * loops.step_b;
    for (int loop = 0; loop < loops.outer; ++loop) {
      const auto [rest, index] = loops.size[loop].split(row);
      row = rest;
      at_a += index * loops.stride_a[loop];
      at_b += index * loops.stride_b[loop];
    }
    from_a.at[k] = load_or_repeat<n>(a + at_a, loops.step_a);
    from_b.at[k] = load_or_repeat<n>(b + at_b, loops.step_b);
  }
  cuda::map_loaded<n>(OnStored<Op, T>{}, y, packs, from_a, from_b);
}

template <class Op, class T>
void broadcast(Tensor& y, const Tensor& a, const Tensor& b) {
  const BroadcastLoops loops = broadcast_loops(y.shape(), a.shape(), b.shape());
  T* out = cuda::data<T>(y);
  const T *pa = cuda::data<T>(a), *pb = cuda::data<T>(b);
  if (loops.rank == 1 && loops.stride_a[0] == 1 && loops.stride_b[0] == 1)
    return cuda::map_elements<T, T, T>("binary", y, OnStored<Op, T>{}, pa, pb);

  const auto run = [&]<int n>(std::integral_constant<int, n>) {
    const std::int64_t packs = y.numel() / n;
    cuda::with_index(packs, [&]<class Index>(Index) {
      cuda::launch({"binary", y.device(), cuda::map_blocks(packs), cuda::map_threads},
                   broadcast_kernel<n, Op, T, Index>, out, pa, pb, DeviceLoops<Index>(loops, n), packs);
    });
  };
  // An operand that steps along the innermost loop has its other strides in multiples of that loop's size.
  constexpr int n = cuda::pack_size<T>;
  const bool a_fits = loops.stride_a[0] == 0 || cuda::aligned_rows<T>(loops.size[0], n, pa);
  const bool b_fits = loops.stride_b[0] == 0 || cuda::aligned_rows<T>(loops.size[0], n, pb);
  if (a_fits && b_fits && cuda::aligned_rows<T>(loops.size[0], n, out))
    run(std::integral_constant<int, n>{});
  else
    run(std::integral_constant<int, 1>{});
}

void binary(Tensor& y, const Tensor& a, const Tensor& b, BinaryOp op) {
  if (y.numel() == 0) return;
  cuda::dispatch("binary", y.dtype(),
                 [&]<class T>(T) { dispatch_op(op, [&]<class Op>(Op) { broadcast<Op, T>(y, a, b); }); });
}

template <class T>
struct Affine {
  acc_t<T> factor, shift;
  __device__ T operator()(T x) const { return cuda::store<T>(factor * cuda::load(x) + shift); }
};

void affine(Tensor& y, const Tensor& x, double factor, double shift) {
  cuda::dispatch("affine", y.dtype(), [&]<class T>(T) {
    const Affine<T> f{static_cast<acc_t<T>>(factor), static_cast<acc_t<T>>(shift)};
    cuda::map_elements<T, T>("affine", y, f, cuda::data<T>(x));
  });
}

void add_to(Tensor& y, const Tensor& x) {
  cuda::dispatch("add_to", y.dtype(), [&]<class T>(T) {
    cuda::map_elements<T, T, T>("add_to", y, OnStored<Add, T>{}, cuda::data<T>(y), cuda::data<T>(x));
  });
}

const bool implemented = kernel::binary.implement(Device::Kind::cuda, binary) &&
                         kernel::affine.implement(Device::Kind::cuda, affine) &&
                         kernel::add_to.implement(Device::Kind::cuda, add_to);

}  // namespace
}  // namespace vitral
