// Lesson 10: fill in the two functions; `scripts/course 10 check` says whether they are right.
#include "docs/course/exercises/10_exercise.h"

double one_cycle(long /*t*/, long /*T*/, double lr, double /*warmup_fraction*/, double /*start_factor*/,
                 double /*end_factor*/) {
  // Begin here: a function for half a cosine wave from a to b, then the two halves of the cycle.
  return lr;
}

double clip_by_global_norm(std::vector<std::vector<double>>& /*gradients*/, double /*max_norm*/) {
  // Begin here: one sum of squares over all gradients, not one each.
  return 0;
}
