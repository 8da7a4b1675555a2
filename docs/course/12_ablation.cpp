// Lesson 12: did it learn, and why? Measures by plain loops and by vitral, and two students that differ in
// one thing, eight seeds each, with intervals.
#include <algorithm>
#include <array>
#include <cmath>
#include <fstream>
#include <numeric>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <omp.h>

#include "base/random.h"
#include "data/benchmarks/shapes.h"
#include "infer/measure/patch_scores.h"
#include "infer/measure/pointing.h"
#include "infer/measure/segmentation.h"
#include "infer/measure/statistics.h"
#include "models/measure/retrieval.h"
#include "models/student/student.h"
#include "train/adamw.h"

using namespace vitral;
using infer::LabelledObject;
using Row = std::vector<double>;

constexpr std::int64_t side = 24, grid = 6, patches = grid * grid, width = 32;  // pixels a side; N, W = D
constexpr std::size_t colours = 3, kinds = 2, concepts = colours * kinds;       // "red circle", ...: C
constexpr std::size_t seeds = 8, steps = 500, batch = 16;

// Small scenes, and the embedding that a perfect teacher would give them.
struct World {
  Tensor images, targets;               // uint8 [B,24,24,3], float32 [B,D]
  std::vector<LabelledObject> objects;  // where things are: only the measures see it
};

// One object on noise, or two. The target is the unit vector along the sum of their concepts, each
// (colour + shape) / sqrt(2), and half a background's axis.
World make_world(std::int64_t count, std::uint64_t seed) {
  constexpr std::array<std::array<float, 3>, colours> rgb{
      {{0.86F, 0.16F, 0.15F}, {0.20F, 0.68F, 0.24F}, {0.16F, 0.32F, 0.88F}}};
  World w{Tensor({count, side, side, 3}, DType::uint8), Tensor::zeros({count, width}), {}};
  for (std::int64_t i = 0; i < count; ++i) {
    Random random(seed, i);
    Tensor canvas({side, side, 3});
    const double grey = random.uniform(0.2, 0.7);
    for (std::int64_t k = 0; k < canvas.numel(); ++k)
      canvas.data<float>()[k] = static_cast<float>(grey + random.uniform(-0.08, 0.08));
    float* target = w.targets.data<float>() + i * width;
    target[colours + kinds] = 0.5F;
    std::vector<data::ShapesObject> placed;
    for (const auto wanted = 1 + random.below(2); placed.size() < wanted;) {
      const auto colour = random.below(colours), kind = random.below(kinds);  // circles and crosses
      data::ShapesObject o{
          .concept_index = static_cast<std::int64_t>(data::shapes_shape_count * colour + 3 * kind),
          .size = 7 + static_cast<int>(random.below(4)),
          .colour = rgb[colour]};
      o.x = static_cast<int>(random.below(static_cast<std::uint64_t>(side - o.size + 1)));
      o.y = static_cast<int>(random.below(static_cast<std::uint64_t>(side - o.size + 1)));
      const auto meets = [&](const data::ShapesObject& p) {
        return o.x < p.x + p.size && p.x < o.x + o.size && o.y < p.y + p.size && p.y < o.y + o.size;
      };
      if (!placed.empty() && (o.concept_index == placed[0].concept_index || meets(placed[0]))) continue;
      placed.push_back(o);
      data::draw_shape(o, canvas);
      const auto at = [](int pixel) { return static_cast<float>(pixel) / side; };
      w.objects.push_back({.image = i,
                           .concept_index = static_cast<std::int64_t>(kinds * colour + kind),
                           .box = {at(o.x), at(o.y), at(o.x + o.size), at(o.y + o.size)}});
      target[colour] += std::sqrt(0.5F), target[colours + kind] += std::sqrt(0.5F);
    }
    auto* pixels = w.images.data<std::uint8_t>() + i * canvas.numel();
    for (std::int64_t k = 0; k < canvas.numel(); ++k)
      pixels[k] = static_cast<std::uint8_t>(255 * std::clamp(canvas.data<float>()[k], 0.0F, 1.0F));
  }
  w.targets = models::unit_rows(w.targets);
  return w;
}

models::StudentOutput train_and_embed(const std::string& attention, std::uint64_t seed, const World& train,
                                      const World& test) {
  models::StudentConfig c{
      .image_size = side, .patch_size = side / grid, .width = width, .layers = 2, .heads = 4};
  c.attention = attention;
  models::Student student(c, seed);
  train::AdamW optimizer(student);
  for (std::size_t step = 0; step < steps; ++step) {
    const auto at = static_cast<std::int64_t>(Random(seed, step).below(256) * batch);
    const Variable x = models::pixel_patches(c, train.images.rows(at, at + batch));
    const Variable loss = distillation_loss(student.embed(x), Variable(train.targets.rows(at, at + batch)));
    student.zero_grad();
    loss.backward();
    const double t = static_cast<double>(step) / steps;
    optimizer.step(1e-2 * std::min(1.0, 10 * t + 0.02) * (1 - t));
  }
  const NoGrad no_grad;
  return student.of_patches(models::pixel_patches(c, test.images));
}

// --- the measures, by plain loops ---

double cosine(const float* a, const float* b) {
  double ab = 0, aa = 0, bb = 0;
  for (int i = 0; i < width; ++i) ab += a[i] * b[i], aa += a[i] * a[i], bb += b[i] * b[i];
  return ab / std::sqrt(aa * bb);
}

struct Pointing {
  double hit = 0, chance = 0;
};
// e [N,D]: the embeddings of an image's patches. Does the one nearest to the concept touch the object's box?
Pointing point(const float* e, const float* concept_vector, const infer::Box& box) {
  const auto touches = [&](int n) {
    const int row = n / grid, column = n % grid;
    return column < grid * box[2] && column + 1 > grid * box[0] && row < grid * box[3] &&
           row + 1 > grid * box[1];
  };
  int best = 0, touching = 0;
  for (int n = 0; n < patches; ++n) {
    if (cosine(e + n * width, concept_vector) > cosine(e + best * width, concept_vector)) best = n;
    touching += touches(n) ? 1 : 0;
  }
  return {touches(best) ? 1.0 : 0.0, static_cast<double>(touching) / patches};
}

// If the test images had been others: the pointing game of 1,000 samples of them, drawn with replacement.
infer::Interval bootstrap(const Row& hits, const Row& objects) {
  Row found;
  for (int resample = 0; resample < 1000; ++resample) {
    Random random(0, resample);
    double hit = 0, all = 0;
    for (std::size_t i = 0; i < hits.size(); ++i) {
      const auto drawn = random.below(hits.size());
      hit += hits[drawn], all += objects[drawn];
    }
    found.push_back(hit / all);
  }
  std::ranges::sort(found);
  return {found[25], found[974]};
}

// If the seeds had been others: mean -+ t s / sqrt(n), t = 2.3646 for 95 % and n = 8.
infer::Estimate interval_of_eight(const Row& x) {
  double mean = 0, squares = 0;
  for (const double v : x) mean += v / 8;
  for (const double v : x) squares += (v - mean) * (v - mean);
  const double half = 2.3646 * std::sqrt(squares / 7) / std::sqrt(8.0);
  return {.count = 8, .mean = mean, .low = mean - half, .high = mean + half};
}

// --- all measures by vitral ---

using Table = std::array<std::array<Row, 2>, 4>;  // of each measure and student the values of all seeds
constexpr std::array titles{"cosine", "retrieval", "pointing game", "mIoU"};
constexpr std::array students{"neighbourhood", "full"};

double mean_iou(const Tensor& e, const World& test, const Tensor& names) {
  const infer::Segmentation segmentation(concepts, {0, 1, 2, 3, 4, 5}, {});
  infer::SegmentationResult pixels = segmentation.nothing();
  for (std::int64_t i = 0; i < e.dim(0); ++i) {
    std::vector<LabelledObject> objects;
    for (const LabelledObject& o : test.objects)
      if (o.image == i) objects.push_back(o);
    Tensor maps({1, concepts, patches});
    infer::TextScorer(names).score(e.data<float>() + i * patches * width, patches, maps.data<float>());
    pixels.add(segmentation.measure({maps, grid, grid}, infer::labels_of_boxes(objects, side)), 1);
  }
  return pixels.mean_iou();
}

Table measure_students(const World& train, const World& test, const Tensor& names) {
  Table table;
  for (std::size_t v = 0; v < 2; ++v)
    for (std::size_t seed = 0; seed < seeds; ++seed) {
      const models::StudentOutput out = train_and_embed(students[v], seed, train, test);
      const Tensor &y = out.embedding.value(), &e = out.patches.value();
      double sum = 0;
      for (std::int64_t i = 0; i < y.dim(0); ++i)
        sum += cosine(y.data<float>() + i * width, test.targets.data<float>() + i * width);
      table[0][v].push_back(sum / static_cast<double>(y.dim(0)));
      table[1][v].push_back(models::retrieval(test.targets, y, models::same_rows(test.targets)).recall[0]);
      table[2][v].push_back(infer::pointing_game(e, grid, grid, names, test.objects).accuracy());
      table[3][v].push_back(mean_iou(e, test, names));
    }
  return table;
}

void draw(const std::string& path, const Table& table, double chance) {
  const auto y = [](double v) { return 250 - 210 * v; };
  std::ofstream svg(path);
  svg << "<svg xmlns='http://www.w3.org/2000/svg' width='790' height='290' font-family='sans-serif' "
         "font-size='12'><rect width='790' height='290' fill='white'/>\n"
         "<text x='35' y='280' fill='#1f6fb4'>neighbourhood</text><text x='140' y='280' "
         "fill='#c8501e'>full</text>\n";
  for (const double v : {0.0, 0.2, 0.4, 0.6, 0.8, 1.0})
    svg << fmt::format("<path d='M35 {0}h740' stroke='#ddd'/><text x='8' y='{0}'>{1:.1f}</text>\n", y(v), v);
  svg << fmt::format("<path d='M405 {:.1f}h160' stroke='black' stroke-dasharray='4 4'/>\n", y(chance));
  for (std::size_t k = 0; k < 2 * titles.size(); ++k) {
    const std::size_t measure = k / 2, v = k % 2;
    const double x = 70.0 + 185.0 * static_cast<double>(measure) + 70.0 * static_cast<double>(v);
    svg << fmt::format("<g fill='none' stroke='{}' stroke-width='2'>\n", v == 0 ? "#1f6fb4" : "#c8501e");
    for (const double value : table[measure][v])
      svg << fmt::format("<circle cx='{}' cy='{:.1f}' r='4'/>\n", x, y(value));
    const infer::Estimate e = infer::estimate_mean(table[measure][v]);
    svg << fmt::format("<path d='M{0} {1:.1f}V{2:.1f}m-4 0h8M{0} {1:.1f}m-4 0h8M{0} {3:.1f}h9'/></g>\n",
                       x + 18, y(e.low), y(e.high), y(e.mean));
    if (v == 0)
      svg << fmt::format("<text x='{}' y='20' font-weight='bold'>{}</text>\n", x - 20, titles[measure]);
  }
  svg << "</svg>\n";
}

int main(int argc, char** argv) {
  omp_set_num_threads(1);  // networks so small gain nothing by a second thread
  const World train = make_world(4096, 1), test = make_world(256, 2);
  const auto images = static_cast<std::size_t>(test.images.dim(0));
  Tensor names = Tensor::zeros({concepts, width});  // what a "text" is here
  for (std::size_t c = 0; c < concepts; ++c)
    for (const std::size_t axis : {c / kinds, colours + c % kinds})
      names.data<float>()[c * width + axis] = std::sqrt(0.5F);
  bool holds = true;
  const auto expect = [&](bool what, const char* text) {
    if (!what) fmt::print("does not hold: {}\n", text);
    holds = holds && what;
  };

  const models::StudentOutput first = train_and_embed("neighbourhood", 0, train, test);
  Row hits(images), objects(images);
  double hit = 0, chance = 0;
  for (const LabelledObject& o : test.objects) {
    const float* e = first.patches.value().data<float>() + o.image * patches * width;
    const Pointing one = point(e, names.data<float>() + o.concept_index * width, o.box);
    hit += one.hit, chance += one.chance / static_cast<double>(test.objects.size());
    hits[static_cast<std::size_t>(o.image)] += one.hit, objects[static_cast<std::size_t>(o.image)] += 1;
  }
  const auto game = infer::pointing_game(first.patches.value(), grid, grid, names, test.objects);
  const infer::Interval plain = bootstrap(hits, objects);
  const infer::Interval real = infer::bootstrap(test.images.dim(0), 1, [&](auto times, auto to) {
    const double drawn = std::inner_product(times.begin(), times.end(), objects.begin(), 0.0);
    to[0] = std::inner_product(times.begin(), times.end(), hits.begin(), 0.0) / drawn;
  })[0];
  fmt::print("one run              plain loops             vitral\n");
  fmt::print("pointing game        {:.3f} [{:.3f}, {:.3f}]    {:.3f} [{:.3f}, {:.3f}]\n",
             hit / static_cast<double>(test.objects.size()), plain.low, plain.high, game.accuracy(), real.low,
             real.high);
  fmt::print("its chance           {:.3f}                   {:.3f}\n", chance, game.chance());
  expect(hit == static_cast<double>(game.hits) && std::abs(chance - game.chance()) < 1e-9,
         "the pointing games are equal");
  expect(std::abs(plain.low - real.low) < 2e-3 && std::abs(plain.high - real.high) < 2e-3,
         "the bootstraps agree");

  const Tensor same = Tensor::full(test.targets.shape(), 1);  // a student that says the same of every image
  const models::Retrieval r = models::retrieval(test.targets, same, models::same_rows(test.targets));
  fmt::print("retrieval of a constant student {:.3f}, its chance {:.3f}\n", r.recall[0], r.chance[0]);
  expect(std::abs(r.recall[0] - r.chance[0]) < 1e-6, "who says always the same scores chance");

  const Table table = measure_students(train, test, names);
  fmt::print("\n{} seeds            neighbourhood            full                    paired difference\n",
             seeds);
  for (std::size_t p = 0; p < titles.size(); ++p) {
    Row differences;
    for (std::size_t k = 0; k < seeds; ++k) differences.push_back(table[p][0][k] - table[p][1][k]);
    const infer::Estimate d = infer::estimate_difference(table[p][0], table[p][1]);
    const infer::Estimate by_hand = interval_of_eight(differences);
    expect(std::abs(d.low - by_hand.low) < 1e-4 && std::abs(d.high - by_hand.high) < 1e-4,
           "the intervals agree");
    fmt::print("{:14}", titles[p]);
    for (const infer::Estimate& m : {infer::estimate_mean(table[p][0]), infer::estimate_mean(table[p][1]), d})
      fmt::print("{:7.3f} [{:6.3f},{:6.3f}]", m.mean, m.low, m.high);
    fmt::print("{}\n", d.differs_from_zero() ? " *" : "");
  }
  // Not that one points better than the other: on another processor, rounding might turn that round.
  expect(infer::estimate_mean(table[3][0]).mean > infer::estimate_mean(table[3][1]).mean,
         "who sees less says better what pixels show");
  expect(infer::estimate_mean(table[2][0]).low > game.chance(), "its patches point better than chance");
  draw((argc > 1 ? argv[1] : std::string(".")) + "/12_seeds.svg", table, game.chance());
  return holds ? 0 : 1;
}
