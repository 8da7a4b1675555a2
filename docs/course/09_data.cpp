// Lesson 9: data as a pure function of (seed, epoch, index). A generator without state, the order of an epoch
// and a crop in plain loops beside vitral's; equal hashes for any number of workers and from the middle of an
// epoch; a biased shuffle (09_shuffle.svg) and a sheet of views (09_views.png).
#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <numeric>
#include <random>

#include <fmt/format.h>

#include "base/hash.h"
#include "base/random.h"
#include "data/benchmarks/shapes.h"
#include "data/images/augment.h"
#include "data/loader.h"
#include "infer/show/canvas.h"

using namespace vitral;

namespace {

using U64 = std::uint64_t;

int failures = 0;
void expect(bool holds, const std::string& what) {
  if (!holds) fmt::print("does not hold: {}\n", what), ++failures;
}

// --- random numbers without a state ---

// splitmix64: every bit of the result depends on every bit of z.
U64 mix(U64 z) {
  z += 0x9E3779B97F4A7C15;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
  return z ^ (z >> 31);
}
// One key of several numbers; their order matters.
U64 key_of(U64 seed, std::initializer_list<U64> more) {
  U64 key = mix(seed);
  for (const U64 part : more) key = mix(key ^ (part + 0xD1B54A32D192ED03));
  return key;
}
// Number `counter` of the stream with this key.
U64 number(U64 key, U64 counter) { return mix(key + 0x9E3779B97F4A7C15 * counter); }
// The same in [0, 1), of its upper 53 bits; and in 0 .. n - 1.
double uniform(U64 key, U64 counter) { return 0x1p-53 * static_cast<double>(number(key, counter) >> 11); }
U64 below(U64 key, U64 counter, U64 n) {
  return static_cast<U64>((static_cast<uint128>(number(key, counter)) * n) >> 64);
}

void compare_numbers() {
  const U64 key = key_of(42, {3, 7});
  Random random(42, 3, 7);
  for (int i = 0; i < 1'000'000; ++i) random.next();
  const U64 there = random.next(), at_once = number(key, 1'000'000);
  fmt::print("number 1,000,000 of stream (42, 3, 7): {:016x} at once, {:016x} after a million steps\n",
             at_once, there);
  expect(at_once == there, "the naive stream is that of vitral::Random");
}

// --- the order of an epoch ---

// Fisher-Yates: position i - 1 gets one of those that are not placed yet, itself among them.
std::vector<std::int64_t> shuffled(U64 key, std::int64_t n) {
  std::vector<std::int64_t> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), std::int64_t{0});
  U64 counter = 0;
  for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[below(key, counter++, i)]);
  return order;
}
// Looks as good, and is not: each position changes with any other.
std::vector<std::int64_t> badly_shuffled(U64 key, std::int64_t n) {
  std::vector<std::int64_t> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), std::int64_t{0});
  for (std::size_t i = 0; i < order.size(); ++i) std::swap(order[i], order[below(key, i, order.size())]);
  return order;
}

// How often each of the 24 orders of 4 images comes, over 24,000 epochs.
void draw_shuffles(const std::string& path) {
  std::string bars;
  for (const bool good : {true, false}) {
    int x = good ? 60 : 372;
    std::map<std::vector<std::int64_t>, int> counts;
    for (U64 epoch = 0; epoch < 24'000; ++epoch) {
      const U64 key = key_of(0, {epoch});
      ++counts[good ? shuffled(key, 4) : badly_shuffled(key, 4)];
    }
    int fewest = 24'000, most = 0;
    for (const auto& [order, count] : counts) {
      fewest = std::min(fewest, count), most = std::max(most, count);
      bars += fmt::format("<rect x=\"{}\" y=\"{:.1f}\" width=\"9\" height=\"{:.1f}\" fill=\"{}\"/>\n", x,
                          230 - count * 0.1, count * 0.1, good ? "#2c7fb8" : "#c0392b");
      x += 12;
    }
    fmt::print("{}: each of 24 orders 1000 times in the mean, here {} to {} times\n",
               good ? "Fisher-Yates    " : "swap with anyone", fewest, most);
    expect(good == (most - fewest < 250), "Fisher-Yates gives equal chances, the other does not");
  }
  std::ofstream(path)
      << R"(<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 690 270" font-family="sans-serif" font-size="14"><rect width="690" height="270" fill="white"/><path d="M50 130H660" stroke="#999" stroke-dasharray="4 4"/><path d="M50 230H660" stroke="#333"/><g fill="#333"><text x="8" y="135">1000</text><text x="36" y="235">0</text><text x="60" y="24">how often each order of 4 images comes in 24,000 epochs</text></g>
<text x="135" y="255" fill="#2c7fb8">Fisher-Yates</text><text x="440" y="255" fill="#c0392b">swap each with anyone</text>)"
      << bars << "</svg>\n";
}

// --- a sample: its crop, drawn by its own stream ---

// One of n places, u in [0, 1).
std::int64_t place(double u, std::int64_t n) { return static_cast<std::int64_t>(u * static_cast<double>(n)); }
// Numbers 0 to 10 of a sample's stream decide on colours, blur and so on; 6 mirrors, 11 and 12 say where.
struct Crop {
  std::int64_t top, left;
  bool mirrored;
};
Crop crop_of(U64 key, double flip, std::int64_t height, std::int64_t width, std::int64_t size) {
  const bool mirrored = uniform(key, 6) < flip;
  const std::int64_t left = place(uniform(key, 12), width - size + 1);
  return {place(uniform(key, 11), height - size + 1), mirrored ? width - size - left : left, mirrored};
}

// An epoch of batches as vitral's loader gives them, and as the functions above say, byte for byte.
void compare_epoch(const data::Dataset& dataset) {
  constexpr std::int64_t size = 48, seed = 5, epoch = 3;
  data::AugmentConfig crops;
  crops.random_crop = true, crops.flip = 0.5F;
  data::Loader loader(dataset, {.batch_size = 16, .image_size = size, .augment = crops, .seed = seed});
  loader.begin_epoch(epoch);
  const auto order = shuffled(key_of(seed, {epoch}), dataset.size());
  std::size_t at = 0, wrong = 0;
  while (const auto batch = loader.next())
    for (std::int64_t row = 0; row < batch->size(); ++row) {
      const std::int64_t index = order[at++];
      const U64 view_seed = key_of(seed, {epoch, static_cast<U64>(index)});
      const Crop crop = crop_of(key_of(view_seed, {}), 0.5, 64, 64, size);
      const Tensor image = dataset.image(index), got = batch->images.rows(row, row + 1);
      for (std::int64_t y = 0; y < size; ++y)
        for (std::int64_t x = 0; x < size; ++x)
          for (std::int64_t c = 0; c < 3; ++c) {
            const std::int64_t from = crop.left + (crop.mirrored ? size - 1 - x : x);
            wrong += image.data<std::uint8_t>()[((crop.top + y) * 64 + from) * 3 + c] !=
                     got.data<std::uint8_t>()[(y * size + x) * 3 + c];
          }
    }
  fmt::print("epoch 3 begins with images {}, {}, {}, {}; bytes of its {} samples that differ: {}\n", order[0],
             order[1], order[2], order[3], at, wrong);
  expect(wrong == 0 && at == order.size(), "the naive epoch is the loader's, byte for byte");
}

// A hash of each batch of an epoch.
std::vector<U64> hashes(const data::Dataset& dataset, int workers, std::int64_t epoch, std::int64_t first) {
  data::AugmentConfig augmentation = data::AugmentConfig::clip();
  augmentation.resize = 72;
  data::Loader loader(dataset,
                      {.batch_size = 16, .image_size = 64, .augment = augmentation, .workers = workers});
  loader.begin_epoch(epoch, first);
  std::vector<U64> out;
  while (const auto batch = loader.next()) {
    Hash hash;
    hash.add(batch->images.raw(), batch->images.bytes());
    hash.add(batch->targets.raw(), batch->targets.bytes());
    out.push_back(hash.value());
  }
  return out;
}

void compare_workers(const data::Dataset& dataset) {
  const std::vector<U64> reference = hashes(dataset, 0, 1, 0);
  for (const int workers : {1, 2, 4}) {
    const std::vector<U64> whole = hashes(dataset, workers, 1, 0), rest = hashes(dataset, workers, 1, 3);
    fmt::print("{} workers: {:016x} of epoch 1, {:016x} of its end from batch 3\n", workers,
               hash_of({reinterpret_cast<const char*>(whole.data()), whole.size() * 8}),
               hash_of({reinterpret_cast<const char*>(rest.data()), rest.size() * 8}));
    expect(whole == reference, "any number of workers gives the batches that the caller alone gives");
    expect(std::equal(rest.begin(), rest.end(), reference.begin() + 3), "so does a start in mid-epoch");
  }
  expect(hashes(dataset, 2, 2, 0) != reference, "another epoch has other batches");

  // What a generator with a state gives when two workers share it: it depends on who comes first.
  std::mt19937 one(5), other(5);
  std::array<U64, 8> turns{}, reversed{};
  for (std::size_t i = 0; i < 8; ++i) turns[i] = one(), reversed[i ^ 1U] = other();
  fmt::print(
      "one generator for two workers, the other one first: {} of 8 samples keep their number\n",
      std::inner_product(turns.begin(), turns.end(), reversed.begin(), 0, std::plus(), std::equal_to()));
}

// --- a photograph, made here, and its views ---

Tensor photograph() {
  Tensor image({180, 240, 3}, DType::uint8);
  auto* to = image.data<std::uint8_t>();
  for (int y = 0; y < 180; ++y)
    for (int x = 0; x < 240; ++x) {
      std::array<int, 3> c{120 + y / 2, 170 + y / 3, 230};  // sky
      if (std::hypot(x - 190, y - 38) < 20) c = {255, 225, 110};
      if (y > 105 + 18 * std::sin(x * 0.03)) c = {110 - x / 8, 150 - y / 6, 80};  // hills
      if (x > 70 && x < 130 && y > 95 && y < 150) c = {205, 180, 150};            // house, roof, door
      if (y > 65 && y <= 95 && std::abs(x - 100) < (y - 62) * 1.2) c = {170, 60, 50};
      if (x > 92 && x < 108 && y > 120 && y < 150) c = {90, 60, 40};
      if (std::abs(x - 168) < 4 && y > 120 && y < 155) c = {100, 70, 45};  // tree
      if (std::hypot(x - 168, y - 105) < 25) c = {50, 110 + (x * y) % 11, 55};
      for (const int value : c) *to++ = static_cast<std::uint8_t>(value);
    }
  return image;
}

void draw_views(const std::string& path) {
  constexpr std::int64_t size = 112, gap = 8, label = 16;
  data::AugmentConfig config = data::AugmentConfig::clip();
  config.resize = 144, config.grayscale = 0.15F, config.flip = 0.5F, config.blur = 0.3F,
  config.posterize = 0.1F;
  const Tensor image = photograph();
  infer::Canvas canvas(5 * (size + gap) + gap, 3 * (size + gap + label) + gap, {255, 255, 255});
  for (int cell = 0; cell < 15; ++cell) {
    const U64 seed = cell == 0 ? 0 : key_of(0, {static_cast<U64>(cell - 1), 7});  // of image 7 in that epoch
    const Tensor view = augment(image, config, size, seed), again = augment(image, config, size, seed);
    expect(view.to_vector() == again.to_vector(), "a seed replays its view");
    const std::int64_t left = gap + cell % 5 * (size + gap), top = gap + cell / 5 * (size + gap + label);
    canvas.text(left, top, cell == 0 ? "plain" : fmt::format("epoch {}", cell - 1), infer::Font::small,
                {40, 40, 40});
    for (std::int64_t y = 0; y < size; ++y)
      for (std::int64_t x = 0; x < size; ++x) {
        const std::uint8_t* p = view.data<std::uint8_t>() + (y * size + x) * 3;
        canvas.set(left + x, top + label + y, {p[0], p[1], p[2]});
      }
  }
  data::write_png(path, canvas.image());
}

}  // namespace

int main(int argc, char** argv) {
  const std::string folder = argc > 1 ? argv[1] : ".";
  compare_numbers();
  draw_shuffles(folder + "/09_shuffle.svg");
  std::string name = (std::filesystem::temp_directory_path() / "vitral-course-XXXXXX").string();
  if (mkdtemp(name.data()) == nullptr) return 1;
  data::write_shapes(name + "/train.h5", 96, 0, data::Split::train);
  {
    const data::Dataset dataset = data::Dataset::open(name + "/train.h5");
    compare_epoch(dataset);
    compare_workers(dataset);
  }
  std::filesystem::remove_all(name);
  draw_views(folder + "/09_views.png");
  return failures > 0 ? 1 : 0;
}
