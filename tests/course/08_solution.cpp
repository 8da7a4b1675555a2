// Lesson 8: the solution.
#include <algorithm>
#include <cmath>
#include <map>

#include "docs/course/exercises/08_exercise.h"

std::pair<int, int> most_frequent_pair(const std::vector<Word>& words) {
  std::map<std::pair<int, int>, long> together;
  for (const auto& [tokens, count] : words)
    for (std::size_t i = 0; i + 1 < tokens.size(); ++i) together[{tokens[i], tokens[i + 1]}] += count;
  std::pair<int, int> best{-1, -1};
  long most = 1;
  for (const auto& [pair, count] : together)
    if (count > most) best = pair, most = count;
  return best;
}

void merge(std::vector<Word>& words, const std::pair<int, int>& pair, int both) {
  for (Word& word : words) {
    std::vector<int> merged;
    for (const int token : word.tokens)
      // `both` is a new number, so it begins no other pair.
      if (!merged.empty() && std::pair(merged.back(), token) == pair)
        merged.back() = both;
      else
        merged.push_back(token);
    word.tokens = merged;
  }
}

namespace {

// Both softmaxes of the logits [B,B].
struct Softmaxes {
  double t = 0;
  std::vector<double> logits, p, q;
};

Softmaxes softmaxes(const std::vector<double>& u, const std::vector<double>& v, std::size_t b,
                    double log_scale) {
  const std::size_t e = u.size() / b;
  Softmaxes out{std::exp(std::min(log_scale, std::log(100))), std::vector<double>(b * b),
                std::vector<double>(b * b), std::vector<double>(b * b)};
  std::vector<double> row(b), column(b);
  for (std::size_t i = 0; i < b; ++i)
    for (std::size_t j = 0; j < b; ++j) {
      double& logit = out.logits[i * b + j];
      for (std::size_t d = 0; d < e; ++d) logit += out.t * u[i * e + d] * v[j * e + d];
      row[i] += std::exp(logit);  // at most exp(100), which a double holds
      column[j] += std::exp(logit);
    }
  for (std::size_t i = 0; i < b; ++i)
    for (std::size_t j = 0; j < b; ++j) {
      out.p[i * b + j] = std::exp(out.logits[i * b + j]) / row[i];
      out.q[i * b + j] = std::exp(out.logits[i * b + j]) / column[j];
    }
  return out;
}

}  // namespace

double info_nce(const std::vector<double>& u, const std::vector<double>& v, int pairs, double log_scale) {
  const auto b = static_cast<std::size_t>(pairs);
  const Softmaxes s = softmaxes(u, v, b, log_scale);
  double loss = 0;
  for (std::size_t i = 0; i < b * b; i += b + 1) loss -= (std::log(s.p[i]) + std::log(s.q[i])) / 2;
  return loss / pairs;
}

InfoNceGradients info_nce_gradients(const std::vector<double>& u, const std::vector<double>& v, int pairs,
                                    double log_scale) {
  const auto b = static_cast<std::size_t>(pairs), e = u.size() / b;
  const Softmaxes s = softmaxes(u, v, b, log_scale);
  InfoNceGradients out{std::vector<double>(u.size()), std::vector<double>(v.size()), 0};
  for (std::size_t i = 0; i < b; ++i)
    for (std::size_t j = 0; j < b; ++j) {
      const std::size_t ij = i * b + j;
      const double g = (s.p[ij] + s.q[ij] - (i == j ? 2 : 0)) / (2.0 * pairs);
      if (log_scale <= std::log(100)) out.dlog_scale += g * s.logits[ij];
      for (std::size_t d = 0; d < e; ++d) {
        out.du[i * e + d] += s.t * g * v[j * e + d];
        out.dv[j * e + d] += s.t * g * u[i * e + d];
      }
    }
  return out;
}
