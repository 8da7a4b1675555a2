// Exercises of lesson 3. Write them in docs/course/exercises/03_exercise.cpp; `scripts/course 3 check` says
// whether they are right. Arrays are row-major: x[r * width + i] is element i of row r.
#pragma once

namespace exercise {

/// Exercise 1: RMSNorm (Zhang and Sennrich 2019, arXiv 1910.07467): LayerNorm without mean and bias.
///   rstd = 1 / sqrt(mean_i(x_i^2) + eps),  y_i = x_i rstd weight_i
/// x, y [rows,width]; weight [width]; rstd [rows], kept for the gradient.
void rms_norm(double* y, double* rstd, const double* x, const double* weight, int rows, int width,
              double eps);

/// Exercise 2: its gradient: dy [rows,width] -> dx [rows,width], dweight [width]. Overwrites both. Derive it
/// as the lesson does; where the mean was a part of LayerNorm, terms fall away.
void rms_norm_backward(double* dx, double* dweight, const double* dy, const double* x, const double* weight,
                       const double* rstd, int rows, int width);

}  // namespace exercise
