// Lesson 3: LayerNorm with its gradient as loops, and the real one.
//   03_operation FOLDER     writes FOLDER/03_circle.svg
#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <fstream>
#include <numbers>
#include <string>
#include <vector>

#include "autograd/gradcheck.h"
#include "autograd/ops.h"
#include "base/random.h"
#include "tensor/ops/layer_norm.h"

using namespace vitral;

// y = (x - mean) rstd weight + bias;  x, y [R,W]; weight, bias [W]; mean, rstd [R].
template <class T>
void norm_forward(T* y, T* mean, T* rstd, const T* x, const T* weight, const T* bias, int rows, int width) {
  const T eps = static_cast<T>(1e-5), n = static_cast<T>(width);
  for (int r = 0; r < rows; ++r, x += width, y += width) {
    T sum = 0, squares = 0;
    for (int i = 0; i < width; ++i) sum += x[i];
    mean[r] = sum / n;
    for (int i = 0; i < width; ++i) squares += (x[i] - mean[r]) * (x[i] - mean[r]);
    rstd[r] = 1 / std::sqrt(squares / n + eps);
    for (int i = 0; i < width; ++i) y[i] = (x[i] - mean[r]) * rstd[r] * weight[i] + bias[i];
  }
}

// dx, dy [R,W]; dweight, dbias [W]. Overwrites.
template <class T>
void norm_backward(T* dx, T* dweight, T* dbias, const T* dy, const T* x, const T* weight, const T* mean,
                   const T* rstd, int rows, int width) {
  std::fill(dweight, dweight + width, T(0));
  std::fill(dbias, dbias + width, T(0));
  for (int r = 0; r < rows; ++r, x += width, dy += width, dx += width) {
    T sum_g = 0, sum_gx = 0;
    for (int i = 0; i < width; ++i) {
      const T xhat = (x[i] - mean[r]) * rstd[r], g = dy[i] * weight[i];
      sum_g += g;
      sum_gx += g * xhat;
      dweight[i] += dy[i] * xhat;
      dbias[i] += dy[i];
    }
    const T n = static_cast<T>(width), mean_g = sum_g / n, mean_gx = sum_gx / n;
    for (int i = 0; i < width; ++i) {
      const T xhat = (x[i] - mean[r]) * rstd[r], g = dy[i] * weight[i];
      dx[i] = rstd[r] * (g - mean_g - xhat * mean_gx);
    }
  }
}

// All that goes in and comes out of it.
struct Arrays {
  Arrays(int r, int w, DType t) : rows(r), width(w), dtype(t) {
    Random random(3);
    for (Tensor* given : {&x, &dy, &weight, &bias}) {
      Tensor numbers(given->shape());
      for (std::int64_t i = 0; i < numbers.numel(); ++i)
        numbers.data<float>()[i] =
            static_cast<float>(random.normal() + (given == &x || given == &weight ? 1 : 0));
      *given = numbers.cast(dtype);  // the same ones in every dtype
    }
  }

  int rows, width;
  DType dtype;
  Tensor x{{rows, width}, dtype}, dy{{rows, width}, dtype}, y{{rows, width}, dtype}, dx{{rows, width}, dtype};
  Tensor weight{{width}, dtype}, bias{{width}, dtype}, dweight{{width}, dtype}, dbias{{width}, dtype};
  RowStatistics statistics{Tensor({rows}, dtype), Tensor({rows}, dtype)};
};

template <class T>
void forward_by_loops(Arrays& a) {
  norm_forward(a.y.data<T>(), a.statistics.mean.data<T>(), a.statistics.rstd.data<T>(), a.x.data<T>(),
               a.weight.data<T>(), a.bias.data<T>(), a.rows, a.width);
}

template <class T>
void backward_by_loops(Arrays& a) {
  norm_backward(a.dx.data<T>(), a.dweight.data<T>(), a.dbias.data<T>(), a.dy.data<T>(), a.x.data<T>(),
                a.weight.data<T>(), a.statistics.mean.data<T>(), a.statistics.rstd.data<T>(), a.rows,
                a.width);
}

void forward_by_vitral(Arrays& a) { kernel::layer_norm(a.y, a.statistics, a.x, a.weight, a.bias, 1e-5); }

void backward_by_vitral(Arrays& a) {
  kernel::layer_norm_backward(a.dx, a.dweight, a.dbias, a.dy, a.x, a.weight, a.statistics, /*add=*/false);
}

// The greatest difference, in parts of the greatest number.
double error(const Tensor& got, const Tensor& exact) {
  const std::vector<double> a = got.to_vector(), b = exact.to_vector();
  double difference = 0, greatest = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    difference = std::max(difference, std::abs(a[i] - b[i]));
    greatest = std::max(greatest, std::abs(b[i]));
  }
  return difference / greatest;
}

// The best of five, in milliseconds.
template <class F>
double milliseconds(F&& f) {
  double best = 1e9;
  for (int round = 0; round < 5; ++round) {
    const auto start = std::chrono::steady_clock::now();
    f();
    const std::chrono::duration<double, std::milli> time = std::chrono::steady_clock::now() - start;
    best = std::min(best, time.count());
  }
  return best;
}

bool loops_and_real() {
  constexpr int rows = 4096, width = 512;
  Arrays exact(rows, width, DType::float64), loops(rows, width, DType::float32),
      real(rows, width, DType::float32);
  forward_by_loops<double>(exact);
  backward_by_loops<double>(exact);
  fmt::print("x [4096, 512], float32    error of y       dx  dweight    dbias   forward  backward\n");
  bool right = true;
  const auto row = [&](const char* name, Arrays& a, void (*forward)(Arrays&), void (*backward)(Arrays&)) {
    const double times[] = {milliseconds([&] { forward(a); }), milliseconds([&] { backward(a); })};
    const double errors[] = {error(a.y, exact.y), error(a.dx, exact.dx), error(a.dweight, exact.dweight),
                             error(a.dbias, exact.dbias)};
    fmt::print("  {:24}  {:.1e}  {:.1e}  {:.1e}  {:.1e}  {:5.2f} ms  {:5.2f} ms\n", name, errors[0],
               errors[1], errors[2], errors[3], times[0], times[1]);
    for (const double e : errors) right = right && e < 1e-5;
  };
  row("our loops", loops, forward_by_loops<float>, backward_by_loops<float>);
  row("vitral's kernels", real, forward_by_vitral, backward_by_vitral);

  // What backward leaves of a gradient: nothing along (1, ..., 1) and, but for eps, nothing along xhat.
  const double mean = exact.statistics.mean.data<double>()[0], rstd = exact.statistics.rstd.data<double>()[0];
  double along_ones = 0, along_x = 0;
  for (int i = 0; i < width; ++i) {
    const double dx = exact.dx.data<double>()[i];
    along_ones += dx / width;
    along_x += dx * (exact.x.data<double>()[i] - mean) * rstd / width;
  }
  fmt::print("\nmean of dx over the first row {:.0e}, of dx xhat {:.0e}\n", along_ones, along_x);
  return right && std::abs(along_ones) < 1e-12 && std::abs(along_x) < 1e-4;
}

// Rows that hardly vary about a large number: what is left of the standard deviation?
bool hard_row() {
  constexpr int width = 512;
  Arrays loops(1, width, DType::float32), exact(1, width, DType::float64), real(1, width, DType::float32);
  float sum = 0, squares = 0;
  for (int i = 0; i < width; ++i) {
    const float x = 1000 + 0.01F * loops.x.data<float>()[i];
    loops.x.data<float>()[i] = real.x.data<float>()[i] = x;
    exact.x.data<double>()[i] = static_cast<double>(x);
    sum += x;
    squares += x * x;
  }
  const float mean = sum / width;
  const double one_pass = std::sqrt(std::max(0.0, static_cast<double>(squares / width - mean * mean)));
  forward_by_loops<float>(loops);
  forward_by_loops<double>(exact);
  forward_by_vitral(real);
  const auto deviation = [](const Arrays& a) {
    const double rstd = a.statistics.rstd.item();
    return std::sqrt(1 / (rstd * rstd) - 1e-5);
  };
  fmt::print("\na row about 1000: its standard deviation {:.6f}\n", deviation(exact));
  fmt::print("  mean of squares minus square of the mean {:.6f}, our loops {:.6f}, vitral {:.6f}\n", one_pass,
             deviation(loops), deviation(real));
  return std::abs(deviation(real) / deviation(exact) - 1) < 1e-3 &&
         std::abs(one_pass / deviation(exact) - 1) > 0.1;
}

bool gradients() {
  const auto norm = [](const std::vector<Variable>& v) { return layer_norm(v[0], v[1], v[2]); };
  Arrays a(3, 5, DType::float64);
  const GradcheckResult result = gradcheck(norm, {a.x, a.weight, a.bias});
  fmt::print("\ngradcheck: {}, worst {:.0e}\n  {}\n", result.passed ? "passed" : "failed", result.worst,
             result.message);
  return result.passed;
}

// Rows of three numbers as points: from the side, from above without their means, and normalised.
void draw(const std::string& path) {
  constexpr std::int64_t points = 18;
  Arrays a(points, 3, DType::float64);
  Random random(11);
  a.weight.fill(1);
  a.bias.fill(0);
  for (std::int64_t i = 0; i < points * 3; ++i) {
    a.x.data<double>()[i] = 0.6 + 0.75 * random.normal();
    a.dy.data<double>()[i] = i % 3 == 0 ? 1.1 : 0.1;  // the same for all rows
  }
  forward_by_loops<double>(a);
  backward_by_loops<double>(a);
  // Coordinates along (1,-1,0), (1,1,-2) and (1,1,1).
  const auto along = [](const double* v) {
    return std::array{(v[0] - v[1]) / std::sqrt(2), (v[0] + v[1] - 2 * v[2]) / std::sqrt(6),
                      (v[0] + v[1] + v[2]) / std::sqrt(3)};
  };
  std::ofstream svg(path);
  svg << R"~(<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 960 370" font-family="sans-serif" font-size="14">
<rect width="960" height="370" fill="white"/>
<defs><marker id="tip" viewBox="0 0 8 8" refX="5" refY="4" markerWidth="5" markerHeight="5" orient="auto">
<path d="M0,0 L8,4 L0,8 z" fill="#d03020"/></marker></defs>
<path d="M20,290 H300 M160,50 V330" stroke="#bbb"/><text x="168" y="62" fill="#777">(1, 1, 1)</text>
<circle cx="480" cy="190" r="121.2" fill="none" stroke="#ddd"/><circle cx="800" cy="190" r="121.2" fill="none" stroke="#888"/>
<text x="160" y="24" text-anchor="middle">x: rows of three, from the side</text>
<text x="480" y="24" text-anchor="middle">x - mean: the plane, from above</text>
<text x="800" y="24" text-anchor="middle">divided by the deviation: a circle</text>
<text x="160" y="356" text-anchor="middle" fill="#555">height: the mean, taken away</text>
<text x="480" y="356" text-anchor="middle" fill="#555">distance: the deviation, divided away</text>
<text x="800" y="356" text-anchor="middle" fill="#555">grey: gradient by y; red: what reaches x</text>
)~";
  const double unit = 70;  // pixels
  const char* colors[] = {"#1f77b4", "#17a2a2", "#2ca02c", "#d9a400", "#e0701a", "#8a4fbf"};
  for (std::int64_t i = 0; i < points; ++i) {
    const auto x = along(a.x.data<double>() + 3 * i), y = along(a.y.data<double>() + 3 * i);
    const auto dy = along(a.dy.data<double>() + 3 * i), dx = along(a.dx.data<double>() + 3 * i);
    const double rstd = a.statistics.rstd.data<double>()[i];
    const auto sector = static_cast<std::size_t>((std::atan2(y[1], y[0]) / std::numbers::pi + 1) * 2.999);
    const auto dot = [&](double cx, double cy) {
      svg << fmt::format("<circle cx='{:.1f}' cy='{:.1f}' r='5' fill='{}'/>", cx, cy, colors[sector]);
    };
    const auto arrow = [&](double gx, double gy, const char* color, const char* mark) {
      svg << fmt::format("<path d='M{:.1f},{:.1f} l{:.1f},{:.1f}' stroke='{}' stroke-width='2' {}/>",
                         800 + unit * y[0], 190 - unit * y[1], 45 * gx, -45 * gy, color, mark);
    };
    dot(160 + unit * x[0], 290 - unit * x[2]);
    dot(480 + unit * x[0], 190 - unit * x[1]);
    arrow(dy[0], dy[1], "#bbb", "");
    arrow(dx[0] / rstd, dx[1] / rstd, "#d03020", "marker-end='url(#tip)'");
    dot(800 + unit * y[0], 190 - unit * y[1]);
    svg << "\n";
  }
  svg << "</svg>\n";
}

int main(int argc, char** argv) {
  const bool parts[] = {loops_and_real(), hard_row(), gradients()};
  draw(std::string(argc > 1 ? argv[1] : ".") + "/03_circle.svg");
  for (const bool part : parts)
    if (!part) fmt::print("wrong: an error is larger than the page says\n");
  return parts[0] && parts[1] && parts[2] ? 0 : 1;
}
