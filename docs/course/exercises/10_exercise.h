// Lesson 10, exercise: a schedule, and clipping by the global norm. Write them in 10_exercise.cpp.
#pragma once
#include <vector>

// Exercise 1. The one-cycle schedule: the learning rate of step t of T, t = 0, 1, ..., T - 1. With
// p = warmup_fraction * T - 1, a half cosine wave leads from lr / start_factor at t = 0 up to lr at t = p,
// and another one from there down to lr / start_factor / end_factor at t = T - 1:
//   from a at t = t0 to b at t = t1:   b + (a - b) (1 + cos(pi (t - t0) / (t1 - t0))) / 2
double one_cycle(long t, long T, double lr, double warmup_fraction, double start_factor, double end_factor);

// Exercise 2. The gradients of all parameters as one long vector have the length
//   norm = sqrt(sum of squares of all elements of all gradients)
// Where it is above max_norm, all are multiplied by one factor, max_norm / (norm + 1e-6); else they stay as
// they are. Returns the norm before that.
double clip_by_global_norm(std::vector<std::vector<double>>& gradients, double max_norm);
