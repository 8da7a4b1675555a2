// Inside data/ only: a compiled Perl-compatible regular expression over UTF-8, with Unicode's classes.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>

namespace vitral::data {

/// Any number of threads may search at the same time, each with a Matcher of its own.
class Pattern {
 public:
  enum class Case { distinguished, ignored };
  explicit Pattern(const char* expression, Case letters = Case::distinguished);

  struct Code;

 private:
  friend class Matcher;
  std::shared_ptr<const Code> code_;
};

/// Finds the matches in one text, one after the other. The text must be UTF-8 and stay where it is.
class Matcher {
 public:
  Matcher(const Pattern& pattern, std::string_view text);
  ~Matcher();
  Matcher(const Matcher&) = delete;
  Matcher& operator=(const Matcher&) = delete;

  /// First byte and the one behind the next match. Error: PCRE2 gives up (no memory).
  std::optional<std::pair<std::size_t, std::size_t>> next();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace vitral::data
