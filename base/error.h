// Errors: one clear line that says what, where and what to do.
//
//   Error         the work failed (bad file contents, full disk, diverged run): exit status 1
//   UsageError    the request was wrong (unknown key, missing file, shapes that do not fit): exit status 2
//
// Shape errors of operations follow one pattern: operation, both shapes, the rule, e.g.
//   layer_norm: weight [129] must match last dim of x [8, 197, 128]
#pragma once
#include <stdexcept>
#include <string>
#include <utility>

#ifdef __CUDACC__
#include "base/cuda_format.h"  // nvcc does not compile fmt's constexpr functions
#else
#include <fmt/format.h>
#endif

namespace vitral {

class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class UsageError : public Error {
 public:
  using Error::Error;
};

/// throw_error<UsageError>("{}: no such file", path)
#ifdef __CUDACC__
template <class E = Error, class... Args>
[[noreturn]] void throw_error(const char* format, const Args&... args) {
  throw E(cuda::format(format, args...));
}
#else
template <class E = Error, class... Args>
[[noreturn]] void throw_error(fmt::format_string<Args...> format, Args&&... args) {
  throw E(fmt::format(format, std::forward<Args>(args)...));
}
#endif

}  // namespace vitral

/// Checks what a caller must hold to; the message is formatted only on failure. Throws UsageError.
#define VITRAL_CHECK(condition, ...)                            \
  do {                                                          \
    if (!(condition)) [[unlikely]]                              \
      ::vitral::throw_error<::vitral::UsageError>(__VA_ARGS__); \
  } while (false)
