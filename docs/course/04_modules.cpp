// Lesson 4: modules and optimisers. docs/course/04_modules.md explains it.
#include <cmath>
#include <fstream>

#include "nn/nn.h"
#include "train/adamw.h"
#include "train/momentum.h"

using namespace vitral;
using Numbers = std::vector<double>;

// --- A module by hand: numbers of its own, parts, and names with dots ---

struct TinyModule {
  std::string name;
  std::vector<std::pair<std::string, Numbers>> own;
  std::vector<TinyModule> children;

  void collect(const std::string& prefix, std::vector<std::string>& names) const {
    for (const auto& [key, numbers] : own) names.push_back(prefix + key);
    for (const TinyModule& child : children) child.collect(prefix + child.name + ".", names);
  }
};

struct Regressor : nn::Module {
  Random random{4};
  nn::Parameter& shift = parameter("shift", Tensor::zeros({2}));    // [2]
  nn::Linear& hidden = child<nn::Linear>("hidden", 2, 16, random);  // weight [16,2], bias [16]
  nn::Linear& out = child<nn::Linear>("out", 16, 1, random);        // weight [1,16], bias [1]

  // x [B,2] -> [B,1]
  Variable operator()(const Variable& x) const { return out(gelu(hidden(add(x, shift)))); }
};

// --- Optimisers by hand: one step for n numbers p with gradient g ---

void sgd_step(double* p, const double* g, int n, double lr) {
  for (int i = 0; i < n; ++i) p[i] -= lr * g[i];
}
void momentum_step(double* p, double* m, const double* g, int n, double lr) {
  for (int i = 0; i < n; ++i) {
    m[i] = 0.9 * m[i] + g[i];
    p[i] -= lr * m[i];
  }
}
void adamw_step(double* p, double* m, double* v, const double* g, int n, int t, double lr, double decay) {
  const double beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
  for (int i = 0; i < n; ++i) {
    p[i] *= 1 - lr * decay;  // decoupled: before the formula, and not by way of g
    m[i] = beta1 * m[i] + (1 - beta1) * g[i];
    v[i] = beta2 * v[i] + (1 - beta2) * g[i] * g[i];
    const double mean = m[i] / (1 - std::pow(beta1, t));    // without the pull of the zero
    const double square = v[i] / (1 - std::pow(beta2, t));  // that both began with; t is 1 first
    p[i] -= lr * mean / (std::sqrt(square) + eps);
  }
}

// --- A badly scaled problem: f = (a^2 + condition b^2) / 2, where (a, b) is p turned by an angle ---

struct Bowl {
  double condition, angle;

  double operator()(const double* p, double* g) const {
    const double c = std::cos(angle), s = std::sin(angle);
    const double a = c * p[0] + s * p[1], b = c * p[1] - s * p[0];
    g[0] = c * a - s * condition * b;
    g[1] = s * a + c * condition * b;
    return (a * a + condition * b * b) / 2;
  }
};

enum Kind { by_sgd, by_momentum, by_adamw };
const char* const names[] = {"SGD", "momentum", "AdamW"};

// The losses of so many steps from (a, b) = (1, 0.5); `way`: where p was.
Numbers descend(const Bowl& f, Kind kind, double lr, int steps, Numbers* way = nullptr) {
  const double c = std::cos(f.angle), s = std::sin(f.angle);
  double p[2] = {c - 0.5 * s, s + 0.5 * c}, g[2], m[2] = {}, v[2] = {};
  Numbers losses;
  for (int t = 1; t <= steps + 1; ++t) {
    losses.push_back(f(p, g));
    if (way) way->insert(way->end(), p, p + 2);
    if (kind == by_sgd) sgd_step(p, g, 2, lr);
    if (kind == by_momentum) momentum_step(p, m, g, 2, lr);
    if (kind == by_adamw) adamw_step(p, m, v, g, 2, t, lr, 0);
  }
  return losses;
}

// The learning rate, of twelve a power of ten, whose loss is soonest below 1e-6 of the first and stays there.
// Returns the rate and the steps it took, 5000 where no rate got there.
std::pair<double, int> best_rate(const Bowl& f, Kind kind) {
  std::pair<double, int> best{0, 5000};
  for (int k = -48; k <= 6; ++k) {
    const double lr = std::pow(10.0, k / 12.0);
    const Numbers losses = descend(f, kind, lr, 5000);
    int last = static_cast<int>(losses.size()) - 1;
    while (last >= 0 && losses[static_cast<std::size_t>(last)] < 1e-6 * losses[0]) --last;
    if (last + 1 < best.second) best = {lr, last + 1};
  }
  return best;
}

// --- The picture: sixty steps of each over the contour lines, along the axes and turned ---

void draw(const std::string& path) {
  std::string svg =
      "<svg xmlns='http://www.w3.org/2000/svg' width='840' height='430' font-family='sans-serif' "
      "font-size='14'><rect width='840' height='430' fill='#fff'/><marker id='d' markerWidth='6' "
      "markerHeight='6' refX='3' refY='3'><circle cx='3' cy='3' r='2' fill='#c0392b'/></marker>\n";
  const double rates[] = {0.09, 0.02, 0.1};
  for (const double angle : {0.0, 45.0})
    for (const Kind kind : {by_sgd, by_momentum, by_adamw}) {
      const double x0 = 140.0 + 280 * kind, y0 = angle == 0 ? 100 : 300, unit = 95;
      svg += fmt::format("<text x='{}' y='20' text-anchor='middle'>{}</text>\n", x0,
                         angle == 0 ? fmt::format("{}, lr {}", names[kind], rates[kind]) : "");
      for (const double level : {0.9, 0.36, 0.15, 0.06, 0.02})
        svg += fmt::format(
            "<ellipse cx='{0}' cy='{1}' rx='{2:.1f}' ry='{3:.1f}' fill='none' stroke='#bbb' "
            "transform='rotate({4} {0} {1})'/>\n",
            x0, y0, unit * std::sqrt(2 * level), unit * std::sqrt(2 * level / 20), -angle);
      Numbers way;
      descend({20, angle * M_PI / 180}, kind, rates[kind], 60, &way);
      svg += "<polyline fill='none' stroke='#c0392b' marker-mid='url(#d)' points='";
      for (std::size_t i = 0; i < way.size(); i += 2)
        svg += fmt::format("{:.1f},{:.1f} ", x0 + unit * way[i], y0 - unit * way[i + 1]);
      svg += "'/>\n";
    }
  std::ofstream(path) << svg + "</svg>\n";
}

bool all_hold = true;
void expect(bool holds, const std::string& what) {
  if (!holds) fmt::print("does not hold: {}\n", what);
  all_hold = all_hold && holds;
}

void modules() {
  const TinyModule hidden{"hidden", {{"weight", Numbers(32)}, {"bias", Numbers(16)}}, {}},
      out{"out", {{"weight", Numbers(16)}, {"bias", Numbers(1)}}, {}},
      tiny{"", {{"shift", Numbers(2)}}, {hidden, out}};
  std::vector<std::string> names, real;
  tiny.collect("", names);
  const Regressor network;
  for (const auto& p : network.parameters()) real.push_back(p.name);
  fmt::print("{}", network.describe());
  expect(names == real, "the module by hand has the names of the real one");
}

void beside_the_real_ones(Kind kind) {
  Regressor network;
  network.to(DType::float64);
  train::Sgd sgd(network, {.weight = 0});
  train::AdamW adamw(network, {.weight_decay = 0.1});
  train::Optimizer& optimizer = kind == by_adamw ? static_cast<train::Optimizer&>(adamw) : sgd;
  std::vector<Numbers> p, m(5, Numbers(32)), v = m;  // none of the five parameters has more numbers
  for (const auto& parameter : network.parameters()) p.push_back(parameter.value->value().to_vector());
  Random random(5);
  const Tensor x = nn::uniform({64, 2}, 1, random).cast(DType::float64), y({64, 1}, DType::float64);
  for (std::int64_t i = 0; i < 64; ++i)
    y.data<double>()[i] = x.data<double>()[2 * i] * x.data<double>()[2 * i + 1];  // to be learned: a b
  fmt::print("\n{:8}  step    loss        largest difference of the weights\n", names[kind]);
  for (int t = 1; t <= 1000; ++t) {
    const Variable loss = mse_loss(network(Variable(x)), Variable(y));
    network.zero_grad();
    loss.backward();
    optimizer.step(0.01);
    bool same = true;
    std::size_t k = 0;
    for (const auto& parameter : network.parameters()) {
      const Numbers g = parameter.value->grad().to_vector(), real = parameter.value->value().to_vector();
      const int n = static_cast<int>(g.size());
      if (kind == by_adamw) adamw_step(p[k].data(), m[k].data(), v[k].data(), g.data(), n, t, 0.01, 0.1);
      if (kind == by_momentum) momentum_step(p[k].data(), m[k].data(), g.data(), n, 0.01);
      for (std::size_t i = 0; i < g.size(); ++i) same = same && std::abs(p[k][i] - real[i]) < 1e-12;
      ++k;
    }
    expect(same, fmt::format("step {}: {} by hand is the real one", t, names[kind]));
    if (t == 1 || t == 10 || t == 100 || t == 1000)
      fmt::print("{:14}    {:.6f}    {}\n", t, loss.item(), same ? "below 1e-12" : "too large");
  }
}

void bias_correction() {
  fmt::print("\ngradient always 0.5, step / lr at t =       1      10     100    1000\n");
  for (const bool corrected : {false, true}) {
    fmt::print("{:<38}", corrected ? "  with bias correction" : "  without");
    for (const int t : {1, 10, 100, 1000}) {
      double m = 0, v = 0;
      for (int i = 0; i < t; ++i) {
        m = 0.9 * m + 0.1 * 0.5;
        v = 0.999 * v + 0.001 * 0.25;
      }
      const double correction = corrected ? std::sqrt(1 - std::pow(0.999, t)) / (1 - std::pow(0.9, t)) : 1;
      fmt::print("{:8.3f}", m / std::sqrt(v) * correction);
    }
    fmt::print("\n");
  }
}

// Only the decay of 0.1 moves such a weight: its gradient changes its sign each step.
void decoupled_decay() {
  fmt::print("\na weight of 1 after 1000 steps, gradient +-s:   s = 0.01       1     100\n");
  for (const bool decoupled : {false, true}) {
    fmt::print("{:<46}", decoupled ? "  AdamW: decoupled" : "  Adam: 0.1 p added to the gradient");
    for (const double s : {0.01, 1.0, 100.0}) {
      double p = 1, m = 0, v = 0;
      for (int t = 1; t <= 1000; ++t) {
        const double g = (t % 2 ? s : -s) + (decoupled ? 0 : 0.1 * p);
        adamw_step(&p, &m, &v, &g, 1, t, 1e-3, decoupled ? 0.1 : 0);
      }
      fmt::print("{:8.3f}", p);
    }
    fmt::print("\n");
  }
}

void badly_scaled() {
  fmt::print("\nsteps to a millionth of the loss, at the best of 55 learning rates\n");
  fmt::print("condition     SGD   momentum   AdamW   AdamW, turned by 45 degrees\n");
  for (const double condition : {1.0, 10.0, 100.0, 1000.0}) {
    fmt::print("{:9}", condition);
    for (const Kind kind : {by_sgd, by_momentum, by_adamw})
      fmt::print("{:8}  ", best_rate({condition, 0}, kind).second);
    fmt::print("{:7}\n", best_rate({condition, M_PI / 4}, by_adamw).second);
  }
  const Bowl f{100, 0};
  fmt::print("\nloss, condition 100       step 0      10         30         100        300\n");
  for (const Kind kind : {by_sgd, by_momentum, by_adamw}) {
    const double lr = best_rate(f, kind).first;
    const Numbers losses = descend(f, kind, lr, 300);
    fmt::print("{:<9} lr {:<8.3g}", names[kind], lr);
    for (const std::size_t t : {0, 10, 30, 100, 300}) fmt::print("  {:9.2e}", losses[t]);
    fmt::print("\n");
  }
}

int main(int argc, char** argv) {
  modules();
  beside_the_real_ones(by_momentum);
  beside_the_real_ones(by_adamw);
  bias_correction();
  decoupled_decay();
  badly_scaled();
  draw(std::string(argc > 1 ? argv[1] : ".") + "/04_paths.svg");
  return all_hold ? 0 : 1;
}
