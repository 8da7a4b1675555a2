// Lesson 8: fill in the four functions; `scripts/course 8 check` says whether they are right.
#include "docs/course/exercises/08_exercise.h"

std::pair<int, int> most_frequent_pair(const std::vector<Word>& /*words*/) {
  // Begin here: a std::map from pairs to counts is sorted as ties want it.
  return {-1, -1};
}

void merge(std::vector<Word>& /*words*/, const std::pair<int, int>& /*pair*/, int /*both*/) {
  // Begin here: for each word, fill a new vector from left to right; after a pair go on behind it.
}

double info_nce(const std::vector<double>& /*u*/, const std::vector<double>& /*v*/, int /*pairs*/,
                double /*log_scale*/) {
  // Begin here: the logits [B,B] come first; then the sum of exp() of each row and of each column.
  return 0;
}

InfoNceGradients info_nce_gradients(const std::vector<double>& u, const std::vector<double>& v, int /*pairs*/,
                                    double /*log_scale*/) {
  InfoNceGradients out{std::vector<double>(u.size()), std::vector<double>(v.size()), 0};
  // Begin here: with the sums of exercise 3, p_ij = exp(l_ij) / row_i and q_ij = exp(l_ij) / column_j.
  return out;
}
