// Messages in code that nvcc compiles: each {} becomes the next argument, as fmt does it for plain fields.
#pragma once
#include <initializer_list>
#include <string>
#include <type_traits>

namespace vitral {

enum class DType : unsigned char;
const char* name(DType dtype);

namespace cuda {

template <class T>
std::string text(const T& x) {
  if constexpr (std::is_arithmetic_v<T>)
    return std::to_string(x);
  else if constexpr (std::is_same_v<T, DType>)
    return name(x);
  else if constexpr (std::is_convertible_v<T, std::string>)
    return x;
  else
    return x.str();
}

template <class... Args>
std::string format(const char* pattern, const Args&... args) {
  std::string out = pattern;
  std::string::size_type at = 0;
  for (const std::string& argument : std::initializer_list<std::string>{text(args)...}) {
    at = out.find("{}", at);
    if (at == std::string::npos) break;
    out.replace(at, 2, argument);
    at += argument.size();
  }
  return out;
}

}  // namespace cuda
}  // namespace vitral
