// Lesson 12: did it learn, and why? Measures by plain loops and by vitral, and two students that differ in
// one thing, eight seeds each, with intervals.
#include <algorithm>
#include <array>
#include <cmath>
#include <fstream>
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

constexpr std::int64_t side = 24, grid = 6, patches = grid * grid,
                       width = 32;                                         // pixels, patches a side, N, W = D
constexpr std::size_t colours = 3, kinds = 2, concepts = colours * kinds;  // "red circle", ...: C
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
    const auto at =
        static_cast<std::int64_t>(Random(seed, step).below(256) * batch);  // the same for both students
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

// The probability that a right candidate comes first, where those of equal cosine stand in random order.
double first_is_right(const Row& cosines, const std::vector<bool>& right) {
  const double highest = *std::ranges::max_element(cosines);
  double tied = 0, right_ones = 0;
  for (std::size_t c = 0; c < cosines.size(); ++c)
    if (cosines[c] > highest - 1e-6) tied += 1, right_ones += right[c] ? 1 : 0;
  return right_ones / tied;
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
  std::vector<std::vector<LabelledObject>> of_image(static_cast<std::size_t>(e.dim(0)));
  for (const LabelledObject& o : test.objects) of_image[static_cast<std::size_t>(o.image)].push_back(o);
  const infer::Segmentation segmentation(concepts, {0, 1, 2, 3, 4, 5}, {});
  infer::SegmentationResult pixels = segmentation.nothing();
  for (std::size_t i = 0; i < of_image.size(); ++i) {
    Tensor maps({1, concepts, patches});
    infer::TextScorer(names).score(e.data<float>() + i * patches * width, patches, maps.data<float>());
    pixels.add(segmentation.measure({maps, grid, grid}, infer::labels_of_boxes(of_image[i], side)), 1);
  }
  return pixels.mean_iou();
}

void draw(const std::string& path, const Table& table, double chance) {
  std::string s =
      "<svg xmlns='http://www.w3.org/2000/svg' width='820' height='300' font-family='sans-serif' "
      "font-size='12'>"
      "<rect width='820' height='300' fill='white'/>\n";
  const auto y = [](double v) { return 250 - 210 * v; };
  for (std::size_t p = 0; p < titles.size(); ++p) {
    const double left = 35 + 195.0 * static_cast<double>(p);
    s += fmt::format("<text x='{}' y='20' font-weight='bold'>{}</text>\n", left, titles[p]);
    for (const double v : {0.0, 0.2, 0.4, 0.6, 0.8, 1.0})
      s += fmt::format("<path d='M{} {}h170' stroke='#ddd'/><text x='{}' y='{}'>{:.1f}</text>\n", left, y(v),
                       left - 22, y(v) + 4, v);
    if (p == 2)
      s += fmt::format("<path d='M{} {:.1f}h170' stroke='black' stroke-dasharray='4 4'/>\n", left, y(chance));
    for (std::size_t v = 0; v < 2; ++v) {
      const double x = left + 35 + 85 * static_cast<double>(v);
      const char* colour = v == 0 ? "#1f6fb4" : "#c8501e";
      for (const double value : table[p][v])
        s +=
            fmt::format("<circle cx='{}' cy='{:.1f}' r='4' fill='none' stroke='{}'/>\n", x, y(value), colour);
      const infer::Estimate e = infer::estimate_mean(table[p][v]);
      s += fmt::format(
          "<path d='M{0} {1:.1f}V{2:.1f}M{3} {1:.1f}h8M{3} {2:.1f}h8' stroke='{4}' stroke-width='2'/>"
          "<circle cx='{0}' cy='{5:.1f}' r='4' fill='{4}'/><text x='{6}' y='280' fill='{4}'>{7}</text>\n",
          x + 18, y(e.low), y(e.high), x + 14, colour, y(e.mean), v == 0 ? x - 30 : x, students[v]);
    }
  }
  std::ofstream(path) << s << "</svg>\n";
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

  Table table;
  models::StudentOutput first;
  const float* targets = test.targets.data<float>();
  const models::Answers answers = models::same_rows(test.targets);
  for (std::size_t v = 0; v < 2; ++v)
    for (std::size_t seed = 0; seed < seeds; ++seed) {
      const models::StudentOutput out = train_and_embed(students[v], seed, train, test);
      double sum = 0;
      for (std::size_t i = 0; i < images; ++i)
        sum += cosine(out.embedding.value().data<float>() + i * width, targets + i * width);
      table[0][v].push_back(sum / static_cast<double>(images));
      table[1][v].push_back(models::retrieval(test.targets, out.embedding.value(), answers).recall[0]);
      table[2][v].push_back(
          infer::pointing_game(out.patches.value(), grid, grid, names, test.objects).accuracy());
      table[3][v].push_back(mean_iou(out.patches.value(), test, names));
      if (v == 0 && seed == 0) first = out;
    }

  const float* e = first.patches.value().data<float>();
  Row hits(images), objects(images);
  Pointing sum;
  for (const LabelledObject& o : test.objects) {
    const Pointing one =
        point(e + o.image * patches * width, names.data<float>() + o.concept_index * width, o.box);
    sum.hit += one.hit, sum.chance += one.chance;
    hits[static_cast<std::size_t>(o.image)] += one.hit, objects[static_cast<std::size_t>(o.image)] += 1;
  }
  const auto all = static_cast<double>(test.objects.size());
  const infer::PointingResult game =
      infer::pointing_game(first.patches.value(), grid, grid, names, test.objects);
  const infer::Interval plain = bootstrap(hits, objects);
  const infer::Interval real = infer::bootstrap(test.images.dim(0), 1, [&](auto times, auto to) {
    double hit = 0, of = 0;
    for (std::size_t i = 0; i < images; ++i) hit += times[i] * hits[i], of += times[i] * objects[i];
    to[0] = hit / of;
  })[0];
  fmt::print("one run              plain loops             vitral\n");
  fmt::print("pointing game        {:.3f} [{:.3f}, {:.3f}]    {:.3f} [{:.3f}, {:.3f}]\n", sum.hit / all,
             plain.low, plain.high, game.accuracy(), real.low, real.high);
  fmt::print("its chance           {:.3f}                   {:.3f}\n", sum.chance / all, game.chance());
  expect(sum.hit == static_cast<double>(game.hits) && std::abs(sum.chance / all - game.chance()) < 1e-9,
         "the pointing games are equal");
  expect(std::abs(plain.low - real.low) < 2e-3 && std::abs(plain.high - real.high) < 2e-3,
         "the bootstraps agree");

  const Tensor same = Tensor::full(test.targets.shape(), 1);  // a student that says the same of every image
  for (const auto& [what, student] :
       {std::pair("retrieval", first.embedding.value()), {"of a constant", same}}) {
    double found = 0;
    for (std::size_t q = 0; q < images; ++q) {
      Row cosines;
      std::vector<bool> right;
      for (std::size_t c = 0; c < images; ++c) {
        cosines.push_back(cosine(targets + q * width, student.data<float>() + c * width));
        right.push_back(cosine(targets + q * width, targets + c * width) > 1 - 1e-6);
      }
      found += first_is_right(cosines, right) / static_cast<double>(images);
    }
    const models::Retrieval r = models::retrieval(test.targets, student, answers);
    fmt::print("{:20} {:.3f}                   {:.3f}, chance {:.3f}\n", what, found, r.recall[0],
               r.chance[0]);
    expect(std::abs(found - r.recall[0]) < 2e-3, "both retrievals agree");
  }

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
