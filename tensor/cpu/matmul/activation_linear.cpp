// In chunks of rows: what one kernel writes the next one finds in the cache, and the activation, four times
// as wide as the layer, is not stored unless somebody wants it.
#include <algorithm>

#include "tensor/ops/linear.h"

#ifdef VITRAL_ONEDNN
#include "tensor/cpu/matmul/onednn.h"
#endif

namespace vitral {
namespace {

// Few enough for the cache, enough for products at their full speed.
constexpr std::int64_t chunk = 1024;

// A weight [O,I] for several products with rows of x: x weight^T, or x weight.
class Multiplier {
 public:
  Multiplier(const Tensor& weight, bool transposed, const Tensor& packed = {})
      : weight_(weight), packed_(packed), transposed_(transposed) {
#ifdef VITRAL_ONEDNN
    if (!packed_.defined()) packed_here_ = cpu_kernels::onednn::packed_weight(weight, transposed);
#endif
  }

  void operator()(Tensor& y, const Tensor& x, const Tensor& bias) const {
#ifdef VITRAL_ONEDNN
    // The same sums whatever the number of rows: the last chunk may have few.
    if (packed_here_.defined()) return cpu_kernels::onednn::linear_packed(y, x, packed_here_, bias);
#endif
    if (packed_.defined())
      kernel::linear_packed(y, x, packed_, bias);
    else if (transposed_)
      kernel::linear(y, x, weight_, bias);
    else
      kernel::gemm(y, x, weight_, {});
  }

 private:
  Tensor weight_, packed_, packed_here_;
  bool transposed_;
};

template <class F>
void for_chunks(std::int64_t rows, F&& f) {
  for (std::int64_t begin = 0; begin < rows; begin += chunk) f(begin, std::min(rows, begin + chunk));
}

void forward(Tensor& y, Tensor& activation, const Tensor& h, const Tensor& weight, const Tensor& bias,
             const Tensor& packed, const ActivationKernels& f) {
  const Multiplier multiply(weight, true, packed);
  const bool kept = activation.defined();
  const Tensor room = kept ? activation : Tensor({std::min(chunk, h.dim(0)), h.dim(1)}, h.dtype());
  for_chunks(h.dim(0), [&](std::int64_t begin, std::int64_t end) {
    Tensor a = kept ? room.rows(begin, end) : room.rows(0, end - begin), out = y.rows(begin, end);
    f.value(a, h.rows(begin, end));
    multiply(out, a, bias);
  });
}

void backward(Tensor& dh, Tensor& dweight, Tensor& dbias, const Tensor& dy, const Tensor& h,
              const Tensor& activation, const Tensor& weight, const ActivationKernels& f, bool accumulate) {
  const Multiplier multiply(weight, false);
  const std::int64_t rows = h.dim(0);
  // Only float32 products add to what is there without a pass of their own.
  const bool in_parts = h.dtype() == DType::float32 && rows > 0, kept = activation.defined();
  const Tensor room =
      kept ? activation : Tensor({in_parts ? std::min(chunk, rows) : rows, h.dim(1)}, h.dtype());
  for_chunks(rows, [&](std::int64_t begin, std::int64_t end) {
    Tensor a = in_parts && !kept ? room.rows(0, end - begin) : room.rows(begin, end);
    Tensor slopes = dh.rows(begin, end);
    multiply(slopes, dy.rows(begin, end), {});
    if (kept)
      f.backward(slopes, slopes, h.rows(begin, end));
    else
      f.both(a, slopes, slopes, h.rows(begin, end));
    if (in_parts) kernel::linear_backward(dweight, dbias, dy.rows(begin, end), a, accumulate || begin > 0);
  });
  if (!in_parts) kernel::linear_backward(dweight, dbias, dy, room, accumulate);
}

const bool implemented = kernel::activation_linear.implement(Device::Kind::cpu, forward) &&
                         kernel::activation_linear_backward.implement(Device::Kind::cpu, backward);

}  // namespace
}  // namespace vitral
