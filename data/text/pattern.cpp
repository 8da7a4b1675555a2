#define PCRE2_CODE_UNIT_WIDTH 8
#include "data/text/pattern.h"

#include <array>

#include <pcre2.h>

#include "base/error.h"

namespace vitral::data {
namespace {

std::string message(int code) {
  std::array<PCRE2_UCHAR, 128> text{};
  pcre2_get_error_message(code, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

}  // namespace

struct Pattern::Code {
  pcre2_code* code;
  explicit Code(pcre2_code* c) : code(c) {}
  ~Code() { pcre2_code_free(code); }
  Code(const Code&) = delete;
  Code& operator=(const Code&) = delete;
};

Pattern::Pattern(const char* expression, Case letters) {
  int problem = 0;
  PCRE2_SIZE where = 0;
  const std::uint32_t options = PCRE2_UTF | PCRE2_UCP | (letters == Case::ignored ? PCRE2_CASELESS : 0U);
  pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(expression), PCRE2_ZERO_TERMINATED, options,
                                   &problem, &where, nullptr);
  if (!code) throw_error("pattern {}: {} at {}", expression, message(problem), where);
  code_ = std::make_shared<const Code>(code);
  // Only faster; where there is no just-in-time compiler the interpreter finds the same.
  pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
}

struct Matcher::State {
  std::shared_ptr<const Pattern::Code> pattern;
  std::string_view text;
  std::size_t at = 0;
  bool checked = false;  // that the text is UTF-8
  pcre2_match_data* match = nullptr;
};

Matcher::Matcher(const Pattern& pattern, std::string_view text)
    : state_(std::make_unique<State>(State{.pattern = pattern.code_, .text = text})) {
  state_->match = pcre2_match_data_create_from_pattern(pattern.code_->code, nullptr);
  if (!state_->match) throw std::bad_alloc();
}

Matcher::~Matcher() { pcre2_match_data_free(state_->match); }

std::optional<std::pair<std::size_t, std::size_t>> Matcher::next() {
  State& s = *state_;
  if (s.at >= s.text.size()) return {};
  const int found = pcre2_match(s.pattern->code, reinterpret_cast<PCRE2_SPTR>(s.text.data()), s.text.size(),
                                s.at, s.checked ? PCRE2_NO_UTF_CHECK : 0U, s.match, nullptr);
  if (found == PCRE2_ERROR_NOMATCH) return {};
  if (found < 0) throw_error("text: cannot be split into words: {}", message(found));
  s.checked = true;
  const PCRE2_SIZE* ends = pcre2_get_ovector_pointer(s.match);
  s.at = ends[1];
  return std::pair{ends[0], ends[1]};
}

}  // namespace vitral::data
