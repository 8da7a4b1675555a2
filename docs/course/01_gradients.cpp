// Lesson 1: gradients of a program of numbers, by a tape of our own, by vitral and by differences.
//   01_gradients FOLDER     writes FOLDER/01_graph.svg
#include <cmath>
#include <deque>
#include <fstream>
#include <string>
#include <vector>

#include "autograd/ops.h"
#include "base/random.h"

using vitral::Random;
using vitral::Tensor;
using vitral::Variable;

// One number that was given or computed.
struct Node {
  std::string operation;
  double value;
  std::vector<std::size_t> inputs;  // which earlier nodes it was computed from
  std::vector<double> derivatives;  // of its value by each of them
  double gradient = 0;              // of the result by its value
};

struct Tape {
  std::vector<Node> nodes;

  // Newest first: all that was computed from a node has passed before the node itself does.
  void backward(std::size_t result) {
    for (Node& node : nodes) node.gradient = 0;
    nodes[result].gradient = 1;
    for (std::size_t i = result + 1; i-- > 0;) pass_on(nodes[i]);
  }

  void pass_on(const Node& node) {
    for (std::size_t k = 0; k < node.inputs.size(); ++k)
      nodes[node.inputs[k]].gradient += node.gradient * node.derivatives[k];
  }

  // What looks as good: each node once, in the order in which they are reached. It is wrong.
  void backward_as_reached(std::size_t result) {
    for (Node& node : nodes) node.gradient = 0;
    nodes[result].gradient = 1;
    std::vector<bool> reached(nodes.size());
    std::deque<std::size_t> queue{result};
    for (; !queue.empty(); queue.pop_front()) {
      const Node& node = nodes[queue.front()];
      pass_on(node);
      for (const std::size_t input : node.inputs) {
        if (!reached[input]) queue.push_back(input);
        reached[input] = true;
      }
    }
  }
};

// A number on a tape.
struct Number {
  Tape* tape;
  std::size_t at;
  double value() const { return tape->nodes[at].value; }
};

Number record(Tape* tape, const char* operation, double value, std::vector<std::size_t> inputs = {},
              std::vector<double> derivatives = {}) {
  tape->nodes.push_back({operation, value, std::move(inputs), std::move(derivatives)});
  return {tape, tape->nodes.size() - 1};
}

Number add(Number a, Number b) { return record(a.tape, "add", a.value() + b.value(), {a.at, b.at}, {1, 1}); }
Number sub(Number a, Number b) { return record(a.tape, "sub", a.value() - b.value(), {a.at, b.at}, {1, -1}); }
Number mul(Number a, Number b) {
  return record(a.tape, "mul", a.value() * b.value(), {a.at, b.at}, {b.value(), a.value()});
}
Number tanh(Number a) {
  const double y = std::tanh(a.value());
  return record(a.tape, "tanh", y, {a.at}, {1 - y * y});
}

// Plain numbers, for differences. vitral has its own of Variable (autograd/ops.h).
double add(double a, double b) { return a + b; }
double sub(double a, double b) { return a - b; }
double mul(double a, double b) { return a * b; }

// The program that we differentiate: a neuron, whose weight is used a second time, and its squared error. T
// is double, Number or Variable.
template <class T>
T loss_of(const std::vector<T>& leaves) {
  const T &w = leaves[0], &x = leaves[1], &b = leaves[2], &t = leaves[3];
  const T h = tanh(add(mul(w, x), b));
  const T r = add(h, mul(w, h));
  const T e = sub(r, t);
  return mul(e, e);
}

// A long one: 300 times tanh(a b + c) of any three of the numbers so far.
template <class T>
T long_program(const std::vector<T>& leaves) {
  Random random(7);
  std::vector<T> pool = leaves;
  const auto any = [&] { return pool[random.below(pool.size())]; };
  for (int step = 0; step < 300; ++step) {
    const T a = any(), b = any(), c = any();
    pool.push_back(tanh(add(mul(a, b), c)));
  }
  return pool.back();
}

using Program = double (*)(const std::vector<double>&);

std::vector<double> by_differences(Program program, const std::vector<double>& at, double step) {
  std::vector<double> gradient;
  for (std::size_t i = 0; i < at.size(); ++i) {
    std::vector<double> up = at, down = at;
    up[i] += step;
    down[i] -= step;
    gradient.push_back((program(up) - program(down)) / (2 * step));
  }
  return gradient;
}

std::vector<double> by_vitral(Variable (*program)(const std::vector<Variable>&),
                              const std::vector<double>& at) {
  std::vector<Variable> leaves(at.size());
  for (std::size_t i = 0; i < at.size(); ++i)
    leaves[i] = Variable(Tensor::full({1}, at[i], vitral::DType::float64), /*requires_grad=*/true);
  program(leaves).backward();
  std::vector<double> gradient(at.size());
  for (std::size_t i = 0; i < at.size(); ++i)
    if (leaves[i].grad().defined()) gradient[i] = leaves[i].grad().item();
  return gradient;
}

std::vector<Number> leaves_on(Tape& tape, const std::vector<double>& at) {
  std::vector<Number> leaves(at.size());
  for (std::size_t i = 0; i < at.size(); ++i) leaves[i] = record(&tape, "leaf", at[i]);
  return leaves;
}

double greatest_difference(const std::vector<double>& a, const std::vector<double>& b) {
  double worst = 0;
  for (std::size_t i = 0; i < a.size(); ++i) worst = std::max(worst, std::abs(a[i] - b[i]));
  return worst;
}

const std::vector<std::string> names{"w", "x", "b", "t", "w x", "s", "h", "w h", "r", "e", "loss"};

// Boxes with value and gradient, and at each arrow the derivative that it carries.
void draw(const Tape& tape, const std::string& path) {
  const double column = 122, row = 100, width = 84, height = 62;
  const double places[][2] = {{0, 0}, {0, 1}, {1, 2}, {5, 2}, {1, 1}, {2, 1},
                              {3, 1}, {4, 0}, {5, 1}, {6, 1}, {7, 1}};
  const auto x_of = [&](std::size_t i) { return 58 + column * places[i][0]; };
  const auto y_of = [&](std::size_t i) { return 56 + row * places[i][1]; };
  std::ofstream svg(path);
  svg << R"(<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 970 340" font-family="sans-serif">
<rect width="970" height="340" fill="white"/>
<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">
<path d="M0,0 L8,4 L0,8 z" fill="#666"/></marker></defs>
)";
  for (std::size_t i = 0; i < tape.nodes.size(); ++i)
    for (std::size_t k = 0; k < tape.nodes[i].inputs.size(); ++k) {
      const std::size_t from = tape.nodes[i].inputs[k];
      const double twice =
          tape.nodes[i].inputs.size() == 2 && tape.nodes[i].inputs[0] == tape.nodes[i].inputs[1]
              ? (k == 0 ? -14 : 14)
              : 0;
      const double x0 = x_of(from) + width / 2, y0 = y_of(from) + twice, x1 = x_of(i) - width / 2;
      double y1 = y_of(i) + twice;
      const bool level = y_of(from) == y_of(i);
      if (!level) y1 += y1 > y0 ? -16 : 16;
      svg << fmt::format(R"(<line x1="{:.0f}" y1="{:.0f}" x2="{:.0f}" y2="{:.0f}" stroke="#666" )"
                         R"~(stroke-width="1.5" marker-end="url(#tip)"/>)~"
                         "\n",
                         x0, y0, x1, y1);
      svg << fmt::format(
          R"(<text x="{:.0f}" y="{:.0f}" font-size="11" fill="#555" text-anchor="{}">{:.2g}</text>)"
          "\n",
          (x0 + x1) / 2 + (level ? -4 : 7), (y0 + y1) / 2 + (level ? twice > 0 ? 14 : -5 : 4),
          level ? "middle" : "start", tape.nodes[i].derivatives[k]);
    }
  for (std::size_t i = 0; i < tape.nodes.size(); ++i) {
    const Node& node = tape.nodes[i];
    const double x = x_of(i), y = y_of(i);
    svg << fmt::format(
        R"(<rect x="{:.0f}" y="{:.0f}" width="{:.0f}" height="{:.0f}" rx="8" fill="{}" stroke="#444"/>)"
        R"(<text x="{:.0f}" y="{:.0f}" font-size="14" font-weight="bold" text-anchor="middle">{}</text>)"
        R"(<text x="{:.0f}" y="{:.0f}" font-size="12" text-anchor="middle">{:.4f}</text>)"
        R"(<text x="{:.0f}" y="{:.0f}" font-size="12" fill="#c0392b" text-anchor="middle">{:.4f}</text>)"
        "\n",
        x - width / 2, y - height / 2, width, height, node.inputs.empty() ? "#e8f1fa" : "#f6f6f1", x, y - 12,
        names[i], x, y + 5, node.value, x, y + 22, node.gradient);
  }
  svg << R"(<text x="16" y="328" font-size="12">In a box: the number and, in red, the gradient of the loss by it. )"
         R"(At an arrow: the derivative that the gradient is multiplied with on its way back.</text>)"
      << "\n</svg>\n";
}

int main(int argc, char** argv) {
  const std::string folder = argc > 1 ? argv[1] : ".";
  const std::vector<double> at{0.8, 0.5, 0.1, 0.3};  // w, x, b, t
  Tape tape;
  const Number loss = loss_of(leaves_on(tape, at));
  tape.backward_as_reached(loss.at);
  const Tape wrong = tape;
  tape.backward(loss.at);

  fmt::print("the tape, and the gradients that come back along it\n");
  fmt::print("  node  name  operation     value  gradient\n");
  for (std::size_t i = 0; i < tape.nodes.size(); ++i) {
    std::string operation = tape.nodes[i].operation;
    for (const std::size_t input : tape.nodes[i].inputs) operation += fmt::format(" {}", input);
    fmt::print("  {:4}  {:4}  {:9}  {:8.4f}  {:8.4f}\n", i, names[i], operation, tape.nodes[i].value,
               tape.nodes[i].gradient);
  }
  draw(tape, folder + "/01_graph.svg");

  const std::vector<double> real = by_vitral(loss_of<Variable>, at),
                            numeric = by_differences(loss_of<double>, at, 1e-6);
  fmt::print("\ngradient   our tape     vitral  differences   as reached\n");
  double worst = 0, worst_numeric = 0;
  for (std::size_t i = 0; i < at.size(); ++i) {
    fmt::print("  {:4} {:12.8f} {:10.8f} {:12.8f} {:12.8f}\n", names[i], tape.nodes[i].gradient, real[i],
               numeric[i], wrong.nodes[i].gradient);
    worst = std::max(worst, std::abs(tape.nodes[i].gradient - real[i]));
    worst_numeric = std::max(worst_numeric, std::abs(tape.nodes[i].gradient - numeric[i]));
  }

  fmt::print("\ndifferences: error of d loss / d w for a step of\n");
  for (const double step : {1e-1, 1e-3, 1e-5, 1e-7, 1e-9, 1e-11})
    fmt::print("  {:5.0e}  {:.0e}\n", step, std::abs(by_differences(loss_of<double>, at, step)[0] - real[0]));

  Tape long_tape;
  const Number result = long_program(leaves_on(long_tape, at));
  long_tape.backward(result.at);
  std::vector<double> long_gradient;
  for (std::size_t i = 0; i < at.size(); ++i) long_gradient.push_back(long_tape.nodes[i].gradient);
  const double far = greatest_difference(long_gradient, by_vitral(long_program<Variable>, at)),
               far_numeric =
                   greatest_difference(long_gradient, by_differences(long_program<double>, at, 1e-6));
  fmt::print("\na program of {} nodes: gradients {:.5f} {:.5f} {:.5f} {:.5f}\n", long_tape.nodes.size(),
             long_gradient[0], long_gradient[1], long_gradient[2], long_gradient[3]);
  fmt::print("  vitral's differ by {:.0e}, differences by {:.0e} at most\n", far, far_numeric);

  if (worst > 1e-12 || far > 1e-12) fmt::print("wrong: our tape and vitral differ\n");
  if (worst_numeric > 1e-8 || far_numeric > 1e-7) fmt::print("wrong: tape and differences differ\n");
  const bool shown = std::abs(wrong.nodes[0].gradient - tape.nodes[0].gradient) > 1e-3;
  if (!shown) fmt::print("wrong: the order made no difference\n");
  return worst <= 1e-12 && far <= 1e-12 && worst_numeric <= 1e-8 && far_numeric <= 1e-7 && shown ? 0 : 1;
}
