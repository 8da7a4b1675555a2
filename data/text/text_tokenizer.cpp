#include "data/text/text_tokenizer.h"

#include <algorithm>

#include "base/error.h"

namespace vitral::data {

Tensor TextTokenizer::encode(const std::vector<std::string>& texts, std::int64_t context) const {
  VITRAL_CHECK(!texts.empty(), "tokeniser: no texts given");
  const std::optional<std::int64_t> start = start_token();
  const std::int64_t around = start ? 2 : 1;
  VITRAL_CHECK(context >= around, "tokeniser: a context of {} has no room for {}", context,
               start ? "the start and end tokens" : "the end token");
  Tensor out({static_cast<std::int64_t>(texts.size()), context}, DType::int64);
  std::int64_t* row = out.data<std::int64_t>();
  for (const std::string& text : texts) {
    const std::vector<std::int64_t> tokens = encode(text);
    const auto kept = std::min(static_cast<std::int64_t>(tokens.size()), context - around);
    std::int64_t* to = row;
    if (start) *to++ = *start;
    to = std::copy_n(tokens.begin(), kept, to);
    *to++ = end_token();
    row += context;
    std::fill(to, row, padding_token());
  }
  return out;
}

void CaptionTokens::write(const std::string& text, std::int64_t* row) const {
  const Tensor tokens = tokenizer->encode({text}, context);
  const auto* from = tokens.data<std::int64_t>();
  const auto* end = std::find(from, from + context, tokenizer->end_token());
  std::fill(std::copy(from, std::min(end + 1, from + context), row), row + context, -1);
}

}  // namespace vitral::data
