// Lesson 8: compares the exercise with vitral, and with words by hand.
#include <cmath>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "autograd/ops.h"
#include "data/text/learn_byte_pairs.h"
#include "docs/course/exercises/08_exercise.h"
#include "nn/init.h"

using namespace vitral;

namespace {

int wrong = 0;

template <class T>
bool same(const std::string& what, const T& got, const T& expected, const std::string& hint) {
  if (got == expected) return true;
  fmt::print("{}: wrong: expected {}, got {}; {}\n", what, expected, got, hint);
  ++wrong;
  return false;
}

bool close(const std::string& what, const std::vector<double>& got, const std::vector<double>& expected,
           const std::string& hint) {
  if (!same(what + ", how many numbers", got.size(), expected.size(), hint)) return false;
  for (std::size_t i = 0; i < got.size(); ++i) {
    if (std::abs(got[i] - expected[i]) <= 1e-10) continue;  // not a number is wrong, too
    fmt::print("{}: wrong: number {}: expected {:.6g}, got {:.6g}; {}\n", what, i, expected[i], got[i], hint);
    ++wrong;
    return false;
  }
  return true;
}

void check_pair() {
  const std::string name = "1, most_frequent_pair";
  using Pair = std::pair<int, int>;
  if (same(name, most_frequent_pair({{{1, 2, 3}, 1}, {{4, 5}, 3}, {{2, 3}, 1}}), Pair(4, 5),
           "a word that occurs three times counts three times") &&
      same(name, most_frequent_pair({{{7, 8}, 2}, {{3, 9}, 2}, {{3, 4}, 2}}), Pair(3, 4),
           "all stand together twice: the smaller left number wins, then the smaller right one") &&
      same(name, most_frequent_pair({{{1, 2}, 1}, {{3}, 5}}), Pair(-1, -1), "no pair stands together twice"))
    fmt::print("{}: right\n", name);
}

void check_merge() {
  const std::string name = "2, merge";
  std::vector<Word> words{{{1, 1, 1}, 1}, {{2, 1, 1, 3, 1, 1}, 1}, {{1, 2, 1}, 1}};
  merge(words, {1, 1}, 9);
  if (!same(name, words[0].tokens, {9, 1}, "from left to right, and each token is in one pair at most") ||
      !same(name, words[1].tokens, {2, 9, 3, 9}, "every place of the word, also its end") ||
      !same(name, words[2].tokens, {1, 2, 1}, "the two must be neighbours"))
    return;
  // Both, again and again.
  data::WordCounts counts;
  for (const char* text : {"the theme of these papers", "a banana, an ananas", "anathema"})
    data::count_words(text, counts);
  words.clear();
  const data::BytePairs bytes;
  for (const auto& [word, count] : counts) {
    const auto tokens = bytes.encode(word);
    words.push_back({{tokens.begin(), tokens.end()}, static_cast<long>(count)});
  }
  const auto expected = data::learn_byte_pairs(counts, 8).merges();
  data::BytePairs learned;
  for (int next = 512; next < 520; ++next) {
    const auto pair = most_frequent_pair(words);
    if (pair.first < 0 || pair.first >= next || pair.second < 0 || pair.second >= next) break;
    learned.add_merge(learned.token(pair.first), learned.token(pair.second));
    merge(words, pair, next);
  }
  if (same(name + ", eight rounds with exercise 1", learned.merges(), expected,
           "the counts of a round are those of the words as the rounds before have left them"))
    fmt::print("{}: right\n", name);
}

void check_info_nce(double log_scale, const std::string& hint) {
  constexpr int b = 5, e = 4;
  Random random(3);
  const auto unit_vectors = [&] {
    return l2_normalize(Variable(nn::normal({b, e}, 1, random).cast(DType::float64))).value();
  };
  const Variable u(unit_vectors(), true), v(unit_vectors(), true),
      scale(Tensor::full({1}, log_scale, DType::float64), true);
  const auto us = u.value().to_vector(), vs = v.value().to_vector();
  const std::string at = fmt::format(" at log_scale {}", log_scale);
  if (close("3, info_nce" + at, {info_nce(us, vs, b, log_scale)}, {info_nce(u, v, scale).item()},
            hint + "; the mean of both ways, over the pairs"))
    fmt::print("3, info_nce{}: right\n", at);

  // By vitral's tape, from the formula: what info_nce() gives is that of vectors of any length.
  const Variable most(Tensor::full({1}, std::log(100), DType::float64));
  const Variable x = mul(u, exp(minimum(scale, most))), logits = matmul(x, v, true);
  const Variable both = add(logsumexp(logits), logsumexp(permute(logits, {1, 0})));
  mean(sub(affine(both, 0.5), sum(mul(x, v), 1))).backward();
  const InfoNceGradients got = info_nce_gradients(us, vs, b, log_scale);
  if (close("4, du" + at, got.du, u.grad().to_vector(), "du_i adds up over the captions j") &&
      close("4, dv" + at, got.dv, v.grad().to_vector(), "dv_j adds up over the images i") &&
      close("4, dlog_scale" + at, {got.dlog_scale}, scale.grad().to_vector(), hint))
    fmt::print("4, info_nce_gradients{}: right\n", at);
}

}  // namespace

int main() {
  check_pair();
  check_merge();
  check_info_nce(1.5, "logits are exp(log_scale) times the cosines");
  check_info_nce(5, "above ln 100 it counts as ln 100, and has no slope");
  return wrong > 0 ? 1 : 0;
}
