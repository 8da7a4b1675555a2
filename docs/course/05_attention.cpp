// Lesson 5: attention. docs/course/05_attention.md explains it.
#include <cmath>
#include <fstream>
#include <functional>

#include "autograd/composed.h"
#include "nn/nn.h"

using namespace vitral;
using Numbers = std::vector<double>;
using Sees = std::function<bool(std::int64_t i, std::int64_t j)>;

// N tokens, H heads of size D. qkv [N, 3 H D]: all heads of q, then of k, then of v.
struct Sizes {
  std::size_t tokens, heads, size;
  std::size_t width() const { return heads * size; }
  /// [D] of part 0 (q), 1 (k) or 2 (v).
  const double* row(const Numbers& qkv, std::size_t part, std::size_t token, std::size_t head) const {
    return qkv.data() + ((token * 3 + part) * heads + head) * size;
  }
};

// --- Attention by hand ---

double dot(const double* a, const double* b, std::size_t n) {
  double sum = 0;
  for (std::size_t d = 0; d < n; ++d) sum += a[d] * b[d];
  return sum;
}

// p[j] = exp(s[j]) / sum, in place; s[j] = -infinity gives 0.
void softmax_row(Numbers& s) {
  double maximum = -INFINITY, sum = 0;
  for (const double x : s) maximum = std::max(maximum, x);
  for (double& x : s) sum += x = std::exp(x - maximum);
  for (double& x : s) x /= sum;
}

// The weights of token i in head h, [N].
Numbers weights_of(const Numbers& qkv, const Sizes& s, std::size_t i, std::size_t h, const Sees& sees) {
  Numbers p(s.tokens, -INFINITY);
  for (std::size_t j = 0; j < s.tokens; ++j)
    if (sees(i, j)) p[j] = dot(s.row(qkv, 0, i, h), s.row(qkv, 1, j, h), s.size) / std::sqrt(s.size);
  softmax_row(p);
  return p;
}

// out [N, H D] = sum_j p_j v_j
Numbers attend(const Numbers& qkv, const Sizes& s, const Sees& sees) {
  Numbers out(s.tokens * s.width());
  for (std::size_t h = 0; h < s.heads; ++h)
    for (std::size_t i = 0; i < s.tokens; ++i) {
      const Numbers p = weights_of(qkv, s, i, h, sees);
      double* o = out.data() + i * s.width() + h * s.size;
      for (std::size_t j = 0; j < s.tokens; ++j)
        for (std::size_t d = 0; d < s.size; ++d) o[d] += p[j] * s.row(qkv, 2, j, h)[d];
    }
  return out;
}

// dqkv [N, 3 H D] from g = dout [N, H D]
Numbers attend_backward(const Numbers& g, const Numbers& qkv, const Sizes& s, const Sees& sees) {
  Numbers dqkv(qkv.size());
  const auto slope = [&](std::size_t part, std::size_t token, std::size_t head) {
    return dqkv.data() + ((token * 3 + part) * s.heads + head) * s.size;
  };
  for (std::size_t h = 0; h < s.heads; ++h)
    for (std::size_t i = 0; i < s.tokens; ++i) {
      const Numbers p = weights_of(qkv, s, i, h, sees);  // computed again, not kept
      const double* go = g.data() + i * s.width() + h * s.size;
      double mean = 0;  // sum_j p_j dp_j, where dp_j = g . v_j
      for (std::size_t j = 0; j < s.tokens; ++j) mean += p[j] * dot(go, s.row(qkv, 2, j, h), s.size);
      for (std::size_t j = 0; j < s.tokens; ++j) {
        const double ds = p[j] * (dot(go, s.row(qkv, 2, j, h), s.size) - mean) / std::sqrt(s.size);
        for (std::size_t d = 0; d < s.size; ++d) {
          slope(0, i, h)[d] += ds * s.row(qkv, 1, j, h)[d];  // dq_i
          slope(1, j, h)[d] += ds * s.row(qkv, 0, i, h)[d];  // dk_j
          slope(2, j, h)[d] += p[j] * go[d];                 // dv_j
        }
      }
    }
  return dqkv;
}

// One number of out in one pass: whenever a larger score comes, what was summed up shrinks to fit it.
double attend_online(const Numbers& scores, const Numbers& values) {
  double maximum = -INFINITY, sum = 0, o = 0;
  for (std::size_t j = 0; j < scores.size(); ++j) {
    const double larger = std::max(maximum, scores[j]), shrink = std::exp(maximum - larger);
    sum = sum * shrink + std::exp(scores[j] - larger);
    o = o * shrink + std::exp(scores[j] - larger) * values[j];
    maximum = larger;
  }
  return o / sum;
}

bool all_hold = true;
void expect(bool holds, const std::string& what) {
  if (!holds) fmt::print("does not hold: {}\n", what);
  all_hold = all_hold && holds;
}

bool close(const Numbers& a, const Numbers& b) {
  bool same = a.size() == b.size();
  for (std::size_t i = 0; same && i < a.size(); ++i) same = std::abs(a[i] - b[i]) < 1e-13;
  return same;
}

// --- What the page shows ---

void against_vitral() {
  Random random(1);
  const auto normal = [&](const Shape& shape) { return nn::normal(shape, 1, random).cast(DType::float64); };
  const auto verdict = [](bool same) { return same ? "below 1e-13" : "too large"; };
  fmt::print("largest difference by hand and vitral, float64     forward      backward\n");
  for (const auto& [name, n] :
       {std::pair{"full, 8x8", Neighbourhood{{8, 8}, 15, 1, 0}},
        {"3x3 in a grid of 8x8", Neighbourhood{{8, 8}, 3, 1, 0}},
        {"5x5 in a grid of 4x9", Neighbourhood{{4, 9}, 5, 1, 0}},
        {"3x3, dilation 2, 3 registers behind 7x7", Neighbourhood{{7, 7}, 3, 2, 3}}}) {
    const std::int64_t tokens = n.tokens();
    const Sizes s{static_cast<std::size_t>(tokens), 4, 5};
    const Sees sees = [n = n](std::int64_t i, std::int64_t j) { return n.sees(i, j); };
    const Variable qkv(normal({1, tokens, 60}), true), g(normal({1, tokens, 20}));
    const Variable out = n.window == 15 ? attention(qkv, 4) : neighbourhood_attention(qkv, 4, n);
    sum(mul(out, g)).backward();
    const Numbers x = qkv.value().to_vector(), dx = attend_backward(g.value().to_vector(), x, s, sees);
    const bool forward = close(out.value().to_vector(), attend(x, s, sees));
    const bool backward = close(qkv.grad().to_vector(), dx);
    fmt::print("{:<48}  {}  {}\n", name, verdict(forward), verdict(backward));
    expect(forward && backward, fmt::format("{} by hand is the real one", name));
  }
}

void why_the_root() {
  fmt::print("\n    D    std of q.k    largest of 64 weights: of q.k    of q.k / sqrt(D)\n");
  Random random(2);
  for (const std::size_t d : {4, 33, 64, 256}) {
    double squares = 0, plain = 0, scaled = 0;
    for (int query = 0; query < 200; ++query) {
      Numbers q(d), k = q, scores(64), smaller(64);
      for (double& x : q) x = random.normal();
      for (std::size_t j = 0; j < 64; ++j) {
        for (double& x : k) x = random.normal();
        scores[j] = dot(q.data(), k.data(), d);
        smaller[j] = scores[j] / std::sqrt(d);
        squares += scores[j] * scores[j];
      }
      softmax_row(scores);
      softmax_row(smaller);
      plain += *std::max_element(scores.begin(), scores.end()) / 200;
      scaled += *std::max_element(smaller.begin(), smaller.end()) / 200;
    }
    fmt::print("{:5}    {:10.2f}    {:29.3f}    {:16.3f}\n", d, std::sqrt(squares / 200 / 64), plain, scaled);
  }
  Numbers large{1000, 999, -INFINITY};
  const double overflow = std::exp(1000.0) / (std::exp(1000.0) + std::exp(999.0));
  fmt::print("\nexp(1000) / (exp(1000) + exp(999)) is {}", std::isnan(overflow) ? "not a number" : "one");
  const double online = attend_online(large, {1, 0, 5});
  softmax_row(large);
  fmt::print("; with the maximum taken off {:.4f}, in one pass {:.4f}\n", large[0], online);
  expect(std::abs(online - large[0]) < 1e-12, "one pass gives the same");
}

void costs() {
  fmt::print("\none image, W = 528    MFLOP: linear layers    full     3x3    MB of weights: full     3x3\n");
  for (const int side : {8, 16, 32, 64}) {
    const double n = side * side, width = 528, heads = 16;  // a dot product and a weighted sum: 4 D a pair
    fmt::print("{:2}x{:<2} patches {:28.0f} {:7.1f} {:7.1f} {:22.1f} {:7.2f}\n", side, side,
               8 * n * width * width / 1e6, 4 * n * n * width / 1e6, 4 * n * 9 * width / 1e6,
               4 * heads * n * n / 1e6, 4 * heads * n * 9 / 1e6);
  }
  const auto kept = [](auto&& operation) {  // bytes in use after the operation, its result among them
    Random random(3);
    const Variable qkv(nn::normal({4, 256, 1584}, 1, random), true);
    const std::size_t before = allocator_stats(cpu).bytes_in_use;
    const Variable out = operation(qkv);
    return static_cast<double>(allocator_stats(cpu).bytes_in_use - before) / 1e6;
  };
  const double composed = kept([](const Variable&qkv) { return composed::attention(qkv, 16); }),
               fused = kept([](const Variable&qkv) { return attention(qkv, 16); });
  fmt::print("\n4 images of 16x16 patches: kept until backward, in MB: composed {:.0f}, attention() {:.1f}\n",
             composed, fused);
  expect(fused < composed / 5, "attention() keeps no weights");
}

// --- The picture: an image of 8x8 patches, and the weights of one patch in four heads made by hand ---

// q . k / sqrt(4) of each head: how near, in the same row, of the same colour, how far left.
Numbers heads_by_hand(const Numbers& red) {
  Numbers qkv(3072);  // [64, 3, 4, 4]
  for (std::size_t n = 0; n < 64; ++n) {
    const std::size_t row = n / 8, column = n % 8;
    const double y = static_cast<double>(row), x = static_cast<double>(column), r = red[n];
    const double q[4][4] = {{y, x, 1, 0}, {y, 1, 0, 0}, {r, 1, 0, 0}, {1, 0, 0, 0}};
    const double k[4][4] = {{2 * y, 2 * x, -y * y - x * x, 0},
                            {4 * y, -2 * y * y, 0, 0},
                            {20 * r, -10 * r * r, 0, 0},
                            {-x, 0, 0, 0}};
    for (std::size_t h = 0; h < 4; ++h) {
      std::copy_n(q[h], 4, qkv.data() + (n * 3 * 4 + h) * 4);
      std::copy_n(k[h], 4, qkv.data() + ((n * 3 + 1) * 4 + h) * 4);
    }
  }
  return qkv;
}

void draw(const std::string& path) {
  Numbers red(64, 0.1);  // two things on a ground
  for (const std::size_t n : {17, 18, 19, 20, 25, 26, 27, 28, 33, 34, 35, 36}) red[n] = 1;
  for (const std::size_t n : {45, 46, 53, 54, 61, 62}) red[n] = 1;
  const Numbers qkv = heads_by_hand(red);
  const std::size_t query = 27;  // (3, 3)
  std::string svg =
      "<svg xmlns='http://www.w3.org/2000/svg' width='800' height='490' font-family='sans-serif' "
      "font-size='13'><rect width='800' height='490' fill='#fff'/><text x='20' y='28'>the image</text>"
      "<text x='20' y='180'>to the right: full</text><text x='20' y='255'>3x3</text>"
      "<text x='20' y='405'>3x3, dilation 2</text>\n";
  const auto grid = [&](double x, double y, auto&& colour) {  // of 64 squares
    svg += fmt::format("<g transform='translate({} {}) scale(15)'>", x, y);
    for (std::size_t n = 0; n < 64; ++n)
      svg += fmt::format("<path d='M{} {}h1v1h-1z' fill='{}'/>", n % 8, n / 8, colour(n));
    svg += "<path d='M0 0h8v8h-8z' fill='none' stroke='#999' stroke-width='.1'/>";
    svg += "<path d='M3 3h1v1h-1z' fill='none' stroke='#000' stroke-width='.14'/></g>\n";
  };
  grid(20, 40, [&](std::size_t n) { return red[n] > 0.5 ? "#e8646e" : "#4e646e"; });
  const char* const heads[] = {"how near", "the same row", "the same colour", "far left"};
  for (int row = 0; row < 3; ++row)
    for (std::size_t h = 0; h < 4; ++h) {
      svg += fmt::format("<text x='{}' y='28'>{}</text>\n", 180 + 155 * h, row == 0 ? heads[h] : "");
      const Neighbourhood n{{8, 8}, 3, row == 2 ? 2 : 1, 0};
      const Sees sees = [&](std::int64_t i, std::int64_t j) { return row == 0 || n.sees(i, j); };
      const Numbers p = weights_of(qkv, {64, 4, 4}, query, h, sees);
      const double most = *std::max_element(p.begin(), p.end());
      grid(180 + 155 * h, 40 + 150 * row, [&](std::size_t j) {
        const int shade = 255 - static_cast<int>(235 * p[j] / most);
        return fmt::format("#{0:02x}{0:02x}ff", shade);
      });
    }
  std::ofstream(path) << svg + "</svg>\n";
}

int main(int argc, char** argv) {
  against_vitral();
  why_the_root();
  costs();
  draw(std::string(argc > 1 ? argv[1] : ".") + "/05_weights.svg");
  return all_hold ? 0 : 1;
}
