#include "models/token_embedding.h"

#include <cstring>

#include "base/error.h"

namespace vitral::models {

Variable embedded_tokens(const nn::Parameter& table, const Tensor& tokens, std::string_view tower) {
  // Looked up on the host: the table is read once for a few hundred rows, which no kernel would make faster.
  const Tensor rows = table.value().to(cpu);
  Tensor out({tokens.dim(0), tokens.dim(1), rows.dim(1)}, rows.dtype());
  const auto bytes = static_cast<std::size_t>(rows.dim(1)) * size_of(rows.dtype());
  const auto* token = tokens.data<std::int64_t>();
  for (std::int64_t i = 0; i < tokens.numel(); ++i) {
    VITRAL_CHECK(token[i] >= 0 && token[i] < rows.dim(0), "{}: token {} is not in the vocabulary of {}",
                 tower, token[i], rows.dim(0));
    std::memcpy(static_cast<char*>(out.raw()) + static_cast<std::size_t>(i) * bytes,
                static_cast<const char*>(rows.raw()) + static_cast<std::size_t>(token[i]) * bytes, bytes);
  }
  return Variable(out.to(table.device()));
}

}  // namespace vitral::models
