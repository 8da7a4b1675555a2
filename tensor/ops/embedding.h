// What a text tower does with tokens, which are numbers of rows: looks up their vectors at its beginning, and
// takes the one where the text ends at its end. tokens int64; -1 is no token.
#pragma once
#include "tensor/kernel.h"

namespace vitral {

/// Where a text ends (openai/CLIP, encode_text: text.argmax): the first of the largest of its tokens, since
/// the end-of-text token is the largest of the vocabulary. constexpr, so that a GPU may call it.
constexpr std::int64_t end_of_text(const std::int64_t* tokens, std::int64_t count) {
  std::int64_t end = 0;
  for (std::int64_t i = 1; i < count; ++i)
    if (tokens[i] > tokens[end]) end = i;
  return end;
}

namespace kernel {

/// y_i = table_t, t = tokens_i; zeros for a t that is no row:  table [V,W], tokens [N]  ->  y [N,W].
inline constinit Kernel<void(Tensor& y, const Tensor& table, const Tensor& tokens)> embedding{"embedding"};
/// dtable_v (+)= the sum of dy_i over the i with tokens_i = v; `add`: accumulates, else overwrites. The same
/// bits each time, whatever the number of threads. A dy that is not finite makes rows of its tokens, on a GPU
/// all, NaN or infinite.
inline constinit Kernel<void(Tensor& dtable, const Tensor& dy, const Tensor& tokens, bool add)>
    embedding_backward{"embedding_backward"};

/// y_t = x_te, e = end_of_text(tokens_t):  x [T,L,W], tokens [T,L]  ->  y [T,W].
inline constinit Kernel<void(Tensor& y, const Tensor& x, const Tensor& tokens)> end_of_text_pooling{
    "end_of_text_pooling"};
/// dx_te = dy_t, zeros elsewhere. Overwrites.
inline constinit Kernel<void(Tensor& dx, const Tensor& dy, const Tensor& tokens)>
    end_of_text_pooling_backward{"end_of_text_pooling_backward"};

}  // namespace kernel
}  // namespace vitral
