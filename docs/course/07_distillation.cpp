// Lesson 7: the student's head and what it learns. The head and the loss in plain loops beside vitral's, the
// slopes of three losses (07_slopes.svg), 200 steps on the shapes benchmark, heat maps (07_heat.png).
#include <algorithm>
#include <cmath>
#include <fstream>
#include <numeric>
#include <span>

#include <fmt/format.h>

#include "data/benchmarks/shapes.h"
#include "data/images/image.h"
#include "infer/measure/patch_scores.h"
#include "infer/measure/pointing.h"
#include "infer/show/picture.h"
#include "models/student/distillation_loss.h"
#include "models/student/student.h"
#include "nn/init.h"
#include "train/adamw.h"
#include "train/schedule.h"

using namespace vitral;

namespace {

using Numbers = std::vector<double>;

int failures = 0;
void expect(bool holds, const std::string& what) {
  if (!holds) fmt::print("does not hold: {}\n", what), ++failures;
}

double dot(std::span<const double> a, std::span<const double> b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}
double largest_difference(const Numbers& a, const Numbers& b) {
  double largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::abs(a[i] - b.at(i)));
  return largest;
}

// --- the head, of one image ---

struct Pooled {
  Numbers p, e, y;  // weights [N], embeddings of the patches [N,W], embedding [W]
};

// x [N,H,D+1], W = H D. scale: that of same_norm.
Pooled naive_head(const Numbers& x, std::size_t tokens, std::size_t heads, std::size_t size, double scale) {
  const std::size_t width = heads * size;
  Pooled out{Numbers(tokens), Numbers(tokens * width), Numbers(width)};
  double sum = 0;
  for (std::size_t n = 0; n < tokens; ++n) {
    double* e = &out.e[n * width];
    double logit = 0;
    for (std::size_t h = 0; h < heads; ++h) {
      const double* head = &x[(n * heads + h) * (size + 1)];
      for (std::size_t d = 0; d < size; ++d) e[h * size + d] = head[d];
      logit += head[size] / static_cast<double>(heads);  // the one number more, averaged over the heads
    }
    const double length = std::sqrt(dot({e, width}, {e, width}));
    for (std::size_t i = 0; i < width; ++i) e[i] *= std::min(scale, 10.0) / length;
    sum += out.p[n] = std::exp(logit);
  }
  for (std::size_t n = 0; n < tokens; ++n) {
    out.p[n] /= sum;
    for (std::size_t i = 0; i < width; ++i) out.y[i] += out.p[n] * out.e[n * width + i];
  }
  return out;
}

void compare_head() {
  constexpr std::size_t tokens = 64, heads = 8, size = 8, width = heads * size;
  Random random(7);
  const Tensor x = nn::normal({1, tokens, heads * (size + 1)}, 1, random).cast(DType::float64);
  const Pooled naive = naive_head(x.to_vector(), tokens, heads, size, 1.5);

  const Variable scale(Tensor::full({1}, 1.5, DType::float64));
  const auto head = models::make_head({.width = width, .heads = heads, .head = "convex"}, Random(0));
  const models::StudentOutput all = (*head)(Variable(x), scale, 1);       // embedding, weights, patches
  const Tensor fused = patch_pooling(Variable(x), scale, heads).value();  // the embedding alone
  const double error = std::max({largest_difference(naive.p, all.probs.value().to_vector()),
                                 largest_difference(naive.e, all.patches.value().to_vector()),
                                 largest_difference(naive.y, fused.to_vector())});
  fmt::print("the head: x {} -> e {}, y {}\n", x.shape(), all.patches.shape(), fused.shape());
  expect(error < 1e-14, "p, e and y of the naive head and of vitral's agree to 1e-14");

  // The score of a text t is the weighted sum of the scores of the patches. The last patch plays the text.
  const std::span<const double> t(&naive.e[(tokens - 1) * width], width);
  double parts = 0;
  for (std::size_t n = 0; n < tokens; ++n) parts += naive.p[n] * dot({&naive.e[n * width], width}, t);
  fmt::print("          y . t = {:.6f}, sum_n p_n (e_n . t) = {:.6f}\n", dot(naive.y, t), parts);
  expect(std::abs(dot(naive.y, t) - parts) < 1e-12, "an image's score is the sum of its patches' scores");
}

// --- the loss, of one image ---

// norm * mean | y/|y| - t/|t| |; dy receives its gradient.
double naive_loss(const Numbers& y, const Numbers& t, double norm, Numbers& dy) {
  const double length = std::sqrt(dot(y, y)), target = std::sqrt(dot(t, t));
  const double weight = norm / static_cast<double>(y.size());
  double loss = 0, along = 0;
  for (std::size_t i = 0; i < y.size(); ++i) {
    const double u = y[i] / length, difference = u - t[i] / target;
    loss += weight * std::abs(difference);
    dy[i] = difference > 0 ? weight : difference < 0 ? -weight : 0;  // dloss / du
    along += u * dy[i];
  }
  // y moves u at right angles to itself only, and by 1 / |y|.
  for (std::size_t i = 0; i < y.size(); ++i) dy[i] = (dy[i] - y[i] / length * along) / length;
  return loss;
}

void compare_loss() {
  Random random(8);
  const Tensor y = nn::normal({1, 64}, 1, random).cast(DType::float64);
  const Tensor t = nn::normal({1, 64}, 1, random).cast(DType::float64);
  Numbers dy(64);
  const double naive = naive_loss(y.to_vector(), t.to_vector(), 20, dy);
  const Variable leaf(y, true), real = distillation_loss(leaf, Variable(t), 20);
  real.backward();
  fmt::print("the loss: {:.6f}, its gradient along y {:.1f}\n", naive, std::abs(dot(dy, y.to_vector())));
  expect(std::abs(naive - real.item()) < 1e-14, "the naive loss and vitral's agree to 1e-14");
  expect(largest_difference(dy, leaf.grad().to_vector()) < 1e-14, "their gradients agree to 1e-14");
}

// --- slopes: how hard a loss pulls at an angle from the target ---

// u = cos(a) t + sin(a) v: d mean|u - t| / d a. With so many numbers, random vectors t and v have nearly the
// same length, and stand nearly at right angles.
double l1_slope(double a) {
  constexpr std::size_t width = 10000;
  Random random(9);
  Numbers t(width), v(width), u(width), along(width), du(width);
  for (std::size_t i = 0; i < width; ++i) {
    t[i] = random.normal(), v[i] = random.normal();
    u[i] = std::cos(a) * t[i] + std::sin(a) * v[i];
    along[i] = std::cos(a) * v[i] - std::sin(a) * t[i];  // du / da
  }
  naive_loss(u, t, 1, du);
  return dot(du, along);
}

void draw_slopes(const std::string& path) {
  const double largest = l1_slope(0.001);
  const auto slope = [&](int which, double degrees) {
    const double a = degrees * M_PI / 180;
    return which == 0 ? l1_slope(a) / largest : which == 1 ? std::cos(a / 2) : std::sin(a);
  };
  const char *names[] = {"l1", "l2", "cosine"}, *colours[] = {"#c0392b", "#2c7fb8", "#444"};
  std::string lines;
  fmt::print("slope, of the largest    at 1 degree   10 degrees   90 degrees\n");
  for (int which = 0; which < 3; ++which) {
    fmt::print("  {:<8} {:>25.2f} {:>12.2f} {:>12.2f}\n", names[which], slope(which, 1), slope(which, 10),
               slope(which, 90));
    lines += fmt::format("<polyline stroke=\"{}\" points=\"", colours[which]);
    for (int degrees = 1; degrees < 180; degrees += 4)
      lines += fmt::format("{},{:.1f} ", 60 + 3 * degrees, 250 - 200 * slope(which, degrees));
    lines += which == 1 ? "\" stroke-dasharray=\"7 5\"/>\n" : "\"/>\n";
  }
  expect(slope(0, 1) > 0.95 && slope(2, 1) < 0.02, "near the target l1 still pulls, cosine does not");
  std::ofstream(path)
      << R"(<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 690 310" font-family="sans-serif" font-size="14"><rect width="690" height="310" fill="white"/><path d="M60 50H600M60 150H600M195 50V250M330 50V250M465 50V250" stroke="#ddd"/><path d="M60 40V250H610" stroke="#333" fill="none"/><g fill="#333" text-anchor="middle"><text x="60" y="270">0°</text><text x="195" y="270">45°</text><text x="330" y="270">90°</text><text x="465" y="270">135°</text><text x="600" y="270">180°</text><text x="330" y="297">angle between student and teacher</text><text x="45" y="255">0</text><text x="40" y="155">0.5</text><text x="45" y="55">1</text></g><text x="60" y="24" fill="#333">slope of the loss along the angle, its largest = 1</text>
<text x="500" y="44" fill="#c0392b">l1, for random vectors</text><text x="500" y="66" fill="#2c7fb8">l2 = |u - t|, dashed</text>
<text x="500" y="88" fill="#444">cosine = l2 squared / 2</text><g fill="none" stroke-width="2.5">)"
      << lines << "</g></svg>\n";
}

// --- 200 steps ---

constexpr std::int64_t batch_size = 16, steps = 200, val_images = 128;
const models::StudentConfig shapes_student{
    .image_size = 64, .patch_size = 8, .width = 64, .layers = 2, .heads = 8};

struct Samples {
  Tensor images, targets;  // uint8 [B,64,64,3], float32 [B,64]
  std::vector<infer::LabelledObject> objects;
};

Samples make_samples(data::Split split, std::int64_t first, std::int64_t count) {
  Samples out{Tensor({count, 64, 64, 3}, DType::uint8), Tensor({count, 64}), {}};
  for (std::int64_t k = 0; k < count; ++k) {
    const data::ShapesSample sample = data::make_shapes_sample(0, split, first + k);
    out.images.rows(k, k + 1).copy_from(sample.image.reshape({1, 64, 64, 3}));
    out.targets.rows(k, k + 1).copy_from(sample.embedding.reshape({1, 64}));
    for (const auto& o : sample.objects) out.objects.push_back({k, o.concept_index, o.box()});
  }
  return out;
}

// -> hits of the pointing game on images that it was not trained with.
double train_student(models::Student& student, const std::string& term) {
  const models::DistillationLoss objective({.terms = {{term, 1}}});
  train::AdamW optimizer(student);
  const auto schedule = train::make_schedule({.name = "one_cycle"}, 4e-3, steps);
  const Samples val = make_samples(data::Split::val, 0, val_images);
  fmt::print("{} steps with the term {}\n", steps, term);
  infer::PointingResult game;
  for (std::int64_t step = 0; step < steps; ++step) {
    const Samples batch = make_samples(data::Split::train, step * batch_size, batch_size);
    models::StudentOutput y;
    y.embedding = student.embed(models::pixel_patches(student.config(), batch.images));
    const Variable loss = models::loss_of(objective.terms(y, {batch.images, batch.targets}));
    student.zero_grad();
    loss.backward();
    optimizer.step(schedule->lr(step));
    if ((step + 1) % 50 != 0) continue;
    const NoGrad no_grad;
    y = student.of_patches(models::pixel_patches(student.config(), val.images));
    game = infer::pointing_game(y.patches.value(), 8, 8, data::shapes_space().concepts, val.objects);
    fmt::print("  step {:3}  loss {:.3f}  validation: cosine {:.2f}, pointing game {:.2f} (chance {:.2f})\n",
               step + 1, loss.item(), 64 * mean(mul(l2_normalize(y.embedding), Variable(val.targets))).item(),
               game.accuracy(), game.chance());
  }
  return game.accuracy();
}

void draw_heat(const models::Student& student, const std::string& path) {
  const NoGrad no_grad;
  std::vector<infer::ActivationRow> rows;
  for (const std::int64_t index : {0, 4, 2}) {
    const Samples one = make_samples(data::Split::val, index, 1);
    const auto y = student.of_patches(models::pixel_patches(student.config(), one.images));
    const Tensor weights = y.probs.value().reshape({8, 8}), patches = y.patches.value().reshape({64, 64});
    infer::ActivationRow row{one.images.reshape({64, 64, 3}), {}, fmt::format("image {}", index)};
    row.panels.push_back({"weights p", weights, {}, infer::PanelKind::weights});
    for (const auto& o : one.objects) {
      const Tensor text = data::shapes_space().concepts.rows(o.concept_index, o.concept_index + 1);
      row.panels.push_back({data::shapes_space().names[static_cast<std::size_t>(o.concept_index)],
                            infer::patch_cosines(patches, text.reshape({64})).reshape({8, 8}), o.box});
    }
    rows.push_back(row);
  }
  data::write_png(path, infer::draw_activations(rows, {.cell = 128, .low = {}, .high = {}}));
}

}  // namespace

int main(int argc, char** argv) {
  const std::string folder = argc > 1 ? argv[1] : ".";
  compare_head();
  compare_loss();
  draw_slopes(folder + "/07_slopes.svg");
  models::Student student(shapes_student), other(shapes_student);
  expect(train_student(student, "l1") > 0.5, "the patches point at more than half of the objects");
  train_student(other, "cosine");
  draw_heat(student, folder + "/07_heat.png");
  return failures > 0 ? 1 : 0;
}
