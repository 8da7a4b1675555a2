// Exercise of lesson 11: `scripts/course 11 check` builds 11_exercise.cpp and says what is right.
#pragma once
#include <cstdint>

/// The bfloat16 nearest to x: its sign, its 8 bits of exponent and the upper 7 of its 23 bits of mantissa. Of
/// two that are equally near, the one whose last bit is 0. What is nearer to 2^128 than to the largest number
/// is infinite; a NaN stays a NaN (any).
std::uint16_t to_bfloat16(float x);

// The arithmetic intensity of an operation: floating-point operations / bytes that it must read and write,
// each tensor once. Additions and multiplications count one each.

/// c = a + b, float32, three tensors of one shape.
double add_intensity();
/// C [M,N] = A [M,K] B [K,N], each number of so many bytes.
double product_intensity(double m, double n, double k, double bytes_a_number);
/// Neighbourhood attention, float32: reads q, k and v and writes o, [N,W] each. Each token compares its q
/// with the k of window x window neighbours, and adds up their v with the weights that it found. Count only
/// these two products, and each token as one inside the grid.
double neighbourhood_attention_intensity(double window);
