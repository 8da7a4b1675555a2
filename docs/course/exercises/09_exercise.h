// Lesson 9, exercise: the order of an epoch and the crop of a sample as pure functions. Write them in
// 09_exercise.cpp. mix() and number() are given.
#pragma once
#include <cstdint>
#include <vector>

// splitmix64: every bit of the result depends on every bit of z.
inline std::uint64_t mix(std::uint64_t z) {
  z += 0x9E3779B97F4A7C15;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
  return z ^ (z >> 31);
}
// Number `counter` (0, 1, 2, ...) of the stream with this key: 64 random bits.
inline std::uint64_t number(std::uint64_t key, std::uint64_t counter) {
  return mix(key + 0x9E3779B97F4A7C15 * counter);
}

// Exercise 1. A key made of a seed and further numbers:
//   key = mix(seed);   for each part:  key = mix(key ^ (part + 0xD1B54A32D192ED03))
std::uint64_t make_key(std::uint64_t seed, const std::vector<std::uint64_t>& parts);

// Exercise 2. Fisher-Yates: begin with 0, 1, ..., n - 1. For i = n, n - 1, ..., 2 swap position i - 1 with
// position r, a random one of 0 .. i - 1. For the k-th swap (k = 0, 1, ...) r is the upper 64 bits of the
// 128-bit product number(key, k) * i (unsigned __int128).
std::vector<std::int64_t> shuffled_order(std::uint64_t key, std::int64_t n);

struct CropPlace {
  std::int64_t top = 0, left = 0;
  bool mirrored = false;
};

// Exercise 3. With u_k = (number(key, k) >> 11) / 2^53, in [0, 1):
//   mirrored  where u_6 < flip
//   top       floor(u_11 (height - size + 1))
//   left      floor(u_12 (width - size + 1)) in the image as it is after mirroring; as the result says where
//   the
//             crop lies in the image as it was, a mirrored one has left = width - size - that
CropPlace random_crop(std::uint64_t key, double flip, std::int64_t height, std::int64_t width,
                      std::int64_t size);
