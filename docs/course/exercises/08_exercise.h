// Lesson 8, exercise: byte pairs, and CLIP's loss with its gradients, in plain loops. Write them in
// 08_exercise.cpp, then scripts/course 8 check
#pragma once
#include <utility>
#include <vector>

/// A word of a text: the numbers of its tokens, and how often it occurs.
struct Word {
  std::vector<int> tokens;
  long count = 0;
};

/// Exercise 1. The two neighbours (left, right) that stand together most often, counted over all words as
/// often as each occurs. Of pairs that stand together equally often the one with the smaller left number,
/// then the one with the smaller right number. {-1, -1} where no pair stands together twice.
std::pair<int, int> most_frequent_pair(const std::vector<Word>& words);

/// Exercise 2. In each word, wherever the two tokens of `pair` stand together, they become the token `both`.
/// From left to right: of a a a the first two are the pair a a.
void merge(std::vector<Word>& words, const std::pair<int, int>& pair, int both);

/// Exercise 3. u, v [B,E], row-major: the embeddings of B images and of their captions, of length 1. With
/// t = exp(min(log_scale, ln 100)) and logits l_ij = t u_i . v_j  [B,B]:
///   loss = mean over i of (-log p_ii - log q_ii) / 2,  p softmax over each row of l, q over each column
double info_nce(const std::vector<double>& u, const std::vector<double>& v, int pairs, double log_scale);

/// What exercise 4 is to find.
struct InfoNceGradients {
  std::vector<double> du, dv;  // [B,E]
  double dlog_scale = 0;
};

/// Exercise 4. The gradients of exercise 3 for u and v as they stand there, [B,E], and for log_scale. With
/// g_ij = (p_ij + q_ij - 2 [i = j]) / (2 B):
///   du_i = t sum_j g_ij v_j     dv_j = t sum_i g_ij u_i     dlog_scale = sum_ij g_ij l_ij, 0 above ln 100
InfoNceGradients info_nce_gradients(const std::vector<double>& u, const std::vector<double>& v, int pairs,
                                    double log_scale);
