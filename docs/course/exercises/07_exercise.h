// Lesson 7, exercise: the convex head and the loss, in plain loops. Write them in 07_exercise.cpp.
#pragma once
#include <vector>

// What the head makes of one image.
struct Pooled {
  std::vector<double> p;  // [N] weights, not negative, their sum is 1
  std::vector<double> e;  // [N,W] embeddings of the patches
  std::vector<double> y;  // [W] embedding of the image
};

// Exercise 1. x [N,H,D+1], row-major: number d of head h of patch n is x[(n * heads + h) * (size + 1) + d].
//   logit_n = mean over heads of x[n,h,D];   p = softmax over patches of logit / temperature
//   e_n     = x[n,h,d] for d < D, the heads one behind the other: [W], W = H D
//   y       = sum_n p_n e_n
// Logits may be as large as 1000: exp(1000) is infinite, so subtract the largest logit first.
Pooled convex_head(const std::vector<double>& x, int tokens, int heads, int size, double temperature);

// Exercise 2. y and t [B,D], row-major:  norm * mean over all B D elements of | y/|y| - t/|t| |,
// with |y| the length of a row.
double distillation_l1(const std::vector<double>& y, const std::vector<double>& t, int images, int width,
                       double norm);

// Exercise 3. The gradient of exercise 2 with respect to y, [B,D]. With u = y/|y| of a row, and
// s = norm / (B D) * sign(u - t/|t|), sign(0) = 0:   dy = (s - u (u . s)) / |y|
std::vector<double> distillation_l1_gradient(const std::vector<double>& y, const std::vector<double>& t,
                                             int images, int width, double norm);
