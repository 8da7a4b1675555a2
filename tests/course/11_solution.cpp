#include <bit>
#include <cmath>

#include "docs/course/exercises/11_exercise.h"

std::uint16_t to_bfloat16(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  if (std::isnan(x)) return static_cast<std::uint16_t>(bits >> 16 | 0x40U);
  const std::uint32_t last = bits >> 16 & 1U;  // a tie goes up where the last bit is 1
  return static_cast<std::uint16_t>((bits + 0x7FFFU + last) >> 16);
}

double add_intensity() { return 1.0 / (3 * 4); }

double product_intensity(double m, double n, double k, double bytes_a_number) {
  return 2 * m * n * k / ((m * k + k * n + m * n) * bytes_a_number);
}

double neighbourhood_attention_intensity(double window) {
  const double neighbours = window * window;
  return 2 * (2 * neighbours) / (4 * 4);  // of each of W columns: two products, and q, k, v, o
}
