// Exercise of lesson 4: another optimiser, and clipping. Write the functions in 04_exercise.cpp, then
// scripts/course 4 check
#pragma once
#include <vector>

/// One step of Lion (arXiv 2302.06675) for n numbers p with gradient g and state m, which was 0 at first:
///   p *= 1 - lr decay;  p -= lr sign(0.9 m + 0.1 g);  m = 0.99 m + 0.01 g
/// sign(0) is 0. The sign is taken of the old m.
void lion_step(double* p, double* m, const double* g, int n, double lr, double decay);

/// What all gradients are multiplied with, so that their norm, the root of the sum of the squares of all
/// elements of all of them together, is at most max_norm:
///   min(1, max_norm / (norm + 1e-6))
/// gradients: those of one parameter each. 0 where the norm is not finite: no step is taken then.
double clip_factor(const std::vector<std::vector<double>>& gradients, double max_norm);

/// The number of optimiser steps after which bias correction of a moment no longer matters: the smallest
/// t >= 1 with 1 / (1 - beta^t) <= 1.01;  0 < beta < 1.
int steps_until_unbiased(double beta);
