#include "tensor/ops/embedding.h"

#include "autograd/ops.h"

namespace vitral {
namespace {

// Where they can be seen without waiting for a device.
void check_rows(const Tensor& tokens, const Variable& table) {
  if (!tokens.device().is_cpu()) return;
  const auto* token = tokens.data<std::int64_t>();
  for (std::int64_t i = 0; i < tokens.numel(); ++i)
    VITRAL_CHECK(token[i] >= -1 && token[i] < table.dim(0),
                 "embedding: token {} is not among the {} rows of the table {}", token[i], table.dim(0),
                 table.shape());
}

}  // namespace

Variable embedding(const Variable& table, const Tensor& tokens) {
  check_input("embedding", table);
  VITRAL_CHECK(table.rank() == 2 && tokens.dtype() == DType::int64 && tokens.rank() >= 1,
               "embedding: table {} must be [V, W], tokens {} {} int64 [...]", table.shape(), tokens.dtype(),
               tokens.shape());
  check_rows(tokens, table);
  const Tensor there = tokens.to(table.device());
  Tensor y(tokens.shape().append(table.dim(1)), table.dtype(), table.device());
  kernel::embedding(y, table.value(), there);
  return make_result("embedding", std::move(y), {table}, [there](const Tensor& dy, Gradients& gradients) {
    gradients.accumulate<0>(
        [&](Tensor& dtable, bool add) { kernel::embedding_backward(dtable, dy, there, add); });
  });
}

Variable end_of_text_pooling(const Variable& x, const Tensor& tokens) {
  check_input("end_of_text_pooling", x);
  VITRAL_CHECK(x.rank() == 3 && tokens.dtype() == DType::int64 && tokens.rank() == 2 &&
                   tokens.dim(0) == x.dim(0) && tokens.dim(1) == x.dim(1) && tokens.dim(1) > 0,
               "end_of_text_pooling: tokens {} {} must be int64 [T, L] for x {} [T, L, W]", tokens.dtype(),
               tokens.shape(), x.shape());
  const Tensor there = tokens.to(x.device());
  Tensor y({x.dim(0), x.dim(2)}, x.dtype(), x.device());
  kernel::end_of_text_pooling(y, x.value(), there);
  return make_result("end_of_text_pooling", std::move(y), {x},
                     [there, shape = x.shape()](const Tensor& dy, Gradients& gradients) {
                       Tensor dx(shape, dy.dtype(), dy.device());
                       kernel::end_of_text_pooling_backward(dx, dy, there);
                       gradients.add(0, std::move(dx));
                     });
}

}  // namespace vitral
