#include "data/benchmarks/scenes.h"

#include <algorithm>
#include <cmath>
#include <exception>
#include <numbers>

#include "base/error.h"
#include "base/text.h"
#include "data/benchmarks/canvas.h"
#include "data/benchmarks/scene_captions.h"
#include "data/images/blur.h"
#include "data/images/image.h"
#include "data/images/resize.h"

namespace vitral::data {
namespace {

constexpr int side = scenes_image_size;
constexpr std::uint64_t scene_seed = 0x7363656e65730001;  // "scenes" and a version: another one draws others
enum Part : std::uint64_t { layout_part, background_part, caption_part };  // streams of random numbers

using Colour = std::array<double, 3>;

// A grey with a tint: the objects are what is colourful.
Colour soft_colour(Random& random) {
  const double grey = random.uniform(0.1, 0.9);
  Colour rgb;
  for (double& c : rgb) c = std::clamp(grey + random.uniform(-0.2, 0.2), 0.0, 1.0);
  return rgb;
}

// Coloured noise, soft: some random pixels around one colour, scaled up.
void draw_clouds(Random& random, const Tensor& canvas) {
  const Colour ground = soft_colour(random);
  const auto cells = static_cast<std::int64_t>(3 + random.below(10));
  Tensor small({cells, cells, 3}, DType::uint8);
  for (std::int64_t i = 0; i < small.numel(); ++i) {
    const double value = ground[static_cast<std::size_t>(i % 3)] + random.uniform(-0.25, 0.25);
    small.data<std::uint8_t>()[i] = static_cast<std::uint8_t>(255 * std::clamp(value, 0.0, 1.0));
  }
  const Tensor large = resize(small, side, side, Filter::bicubic);
  for (std::int64_t i = 0; i < canvas.numel(); ++i)
    canvas.data<float>()[i] = static_cast<float>(large.data<std::uint8_t>()[i]) / 255;
}

void draw_blobs(Random& random, const Tensor& canvas) {
  const Colour ground = soft_colour(random);
  draw_gradient(canvas, ground, ground, 0);
  const auto blobs = 3 + random.below(6);
  for (std::uint64_t k = 0; k < blobs; ++k) {
    const Colour colour = soft_colour(random);
    const double cx = random.uniform(0, side), cy = random.uniform(0, side), radius = random.uniform(6, 30);
    float* out = canvas.data<float>();
    for (int y = 0; y < side; ++y)
      for (int x = 0; x < side; ++x) {
        const double dx = (x + 0.5 - cx) / radius, dy = (y + 0.5 - cy) / radius;
        const double weight = std::exp(-0.5 * (dx * dx + dy * dy));
        for (const double c : colour) {
          *out += static_cast<float>(weight * (c - double{*out}));
          ++out;
        }
      }
  }
}

// A square of a photograph, softly blurred, so that the objects are what is sharp.
Tensor crop_of(Random& random, const Tensor& photograph) {
  const auto height = static_cast<int>(photograph.dim(0)), width = static_cast<int>(photograph.dim(1));
  const auto upto = [&](int most) {
    return static_cast<int>(random.below(static_cast<std::uint64_t>(most) + 1));
  };
  const int size = side + upto(std::min(height, width) - side);
  const int x = upto(width - size), y = upto(height - size);
  const Tensor part = resize(crop(photograph, x, y, size, size), side, side, Filter::bilinear);
  constexpr int kernel = 9;
  return gaussian_blur(part, kernel, static_cast<float>(random.uniform(1, 2)));
}

// Of two boxes, over the smaller one's area.
double overlap(const SceneObject& a, const SceneObject& b) {
  const int width = std::min(a.x + a.width, b.x + b.width) - std::max(a.x, b.x),
            height = std::min(a.y + a.height, b.y + b.height) - std::max(a.y, b.y);
  if (width <= 0 || height <= 0) return 0;
  return double{1} * width * height / std::min(a.width * a.height, b.width * b.height);
}

// With a short side of twice a scene's, or less where it is smaller, but never below a scene's.
Tensor load_photograph(const ImageFile& file) {
  constexpr std::int64_t least = std::int64_t{2} * side;
  Tensor image = read_image(file.path, {.min_side = least});
  const std::int64_t height = image.dim(0), width = image.dim(1), shorter = std::min(height, width);
  const std::int64_t wanted = std::clamp<std::int64_t>(shorter, side, least);
  if (wanted == shorter) return image;
  const auto scaled = [&](std::int64_t length) {
    return static_cast<int>(std::max(wanted, (length * wanted + shorter / 2) / shorter));
  };
  return resize(image, scaled(width), scaled(height), Filter::bilinear);
}

// Those that decode; of the others the reasons.
std::vector<Tensor> load_photographs(const std::string& folder, std::vector<SkippedFile>& skipped) {
  constexpr std::size_t most = 512;
  const std::vector<ImageFile> files = list_images({folder});
  if (files.empty())
    throw_error<UsageError>("{}: has no images to be backgrounds; name a folder of photographs", folder);
  const std::size_t count = std::min(files.size(), most);
  std::vector<Tensor> loaded(count);
  std::vector<std::string> problems(count);
  std::exception_ptr failure;
#pragma omp parallel for schedule(dynamic)
  for (std::size_t k = 0; k < count; ++k) {
    try {
      const ImageFile& file = files[k * files.size() / count];
      if (!file.problem.empty()) throw_error("{}", file.problem);
      loaded[k] = load_photograph(file);
    } catch (const Error& e) {
      problems[k] = one_line(e.what());
    } catch (...) {  // out of memory: nothing may leave a parallel region
#pragma omp critical
      failure = std::current_exception();
    }
  }
  if (failure) std::rethrow_exception(failure);
  for (std::size_t k = 0; k < count; ++k)
    if (!problems[k].empty()) skipped.push_back({files[k * files.size() / count].name, problems[k]});
  std::erase_if(loaded, [](const Tensor& image) { return !image.defined(); });
  if (loaded.empty()) throw_error("{}: none of its images can be read: {}", folder, skipped.front().reason);
  return loaded;
}

}  // namespace

std::array<float, 4> SceneObject::box() const {
  constexpr float n = side;
  return {static_cast<float>(x) / n, static_cast<float>(y) / n, static_cast<float>(x + width) / n,
          static_cast<float>(y + height) / n};
}

std::vector<std::string> scene_concepts() {
  std::vector<std::string> names;
  for (const EmojiClass& one : emoji_classes()) names.emplace_back(one.name());
  return names;
}

Scenes::Scenes(const std::string& font, const std::string& photographs)
    : pictures_(draw_emoji(font.empty() ? find_emoji_font() : font)) {
  if (!photographs.empty()) photographs_ = load_photographs(photographs, skipped_);
}

// Each place is drawn anew until it fits; where an object finds none the whole layout starts anew.
std::vector<SceneObject> Scenes::draw_layout(Random& random) const {
  const auto below = [&](int n) { return static_cast<int>(random.below(static_cast<std::uint64_t>(n))); };
  const int count = 1 + below(scenes_max_objects);
  std::vector<SceneObject> objects;
  while (static_cast<int>(objects.size()) < count) {
    SceneObject o;
    const auto is_taken = [&] {
      return std::ranges::any_of(objects,
                                 [&](const auto& other) { return other.concept_index == o.concept_index; });
    };
    do o.concept_index = below(static_cast<int>(pictures_.size()));
    while (is_taken());
    const Tensor& picture = pictures_[static_cast<std::size_t>(o.concept_index)].colour;
    o.height = scenes_min_height + below(scenes_max_height - scenes_min_height + 1);
    const double width = static_cast<double>(picture.dim(1) * o.height) / static_cast<double>(picture.dim(0));
    o.width = std::clamp(static_cast<int>(std::lround(width)), 1, side);
    o.mirrored = below(2) == 1;
    const auto fits = [&] {
      return std::ranges::all_of(objects,
                                 [&](const auto& other) { return overlap(o, other) <= scenes_max_overlap; });
    };
    bool placed = false;
    for (int attempt = 0; attempt < 50 && !placed; ++attempt) {
      o.x = below(side - o.width + 1);
      o.y = below(side - o.height + 1);
      placed = fits();
    }
    if (placed)
      objects.push_back(o);
    else
      objects.clear();
  }
  return objects;
}

Tensor Scenes::draw_background(Random& random) const {
  if (!photographs_.empty()) return crop_of(random, photographs_[random.below(photographs_.size())]);
  const Tensor canvas({side, side, 3});
  switch (random.below(3)) {
    case 0:
      draw_clouds(random, canvas);
      break;
    case 1:
      draw_blobs(random, canvas);
      break;
    default: {
      const Colour from = soft_colour(random), to = soft_colour(random);
      draw_gradient(canvas, from, to, random.uniform(0, 2 * std::numbers::pi));
    }
  }
  const double noise = random.uniform(0, 0.05);
  return to_pixels(random, canvas, noise);
}

void Scenes::paint(const SceneObject& o, const Tensor& image) const {
  const EmojiPicture& picture = pictures_[static_cast<std::size_t>(o.concept_index)];
  const Tensor colour = resize(picture.colour, o.width, o.height, Filter::bilinear),
               alpha = resize(picture.alpha, o.width, o.height, Filter::bilinear);
  for (int y = 0; y < o.height; ++y)
    for (int x = 0; x < o.width; ++x) {
      const std::int64_t from = (std::int64_t{y} * o.width + (o.mirrored ? o.width - 1 - x : x)) * 3;
      std::uint8_t* to = image.data<std::uint8_t>() + ((std::int64_t{o.y} + y) * side + o.x + x) * 3;
      for (int c = 0; c < 3; ++c) {
        const int through = (to[c] * (255 - alpha.data<std::uint8_t>()[from + c]) + 127) / 255;
        to[c] = static_cast<std::uint8_t>(std::min(colour.data<std::uint8_t>()[from + c] + through, 255));
      }
    }
}

Scene Scenes::make(std::uint64_t seed, Split split, std::int64_t index) const {
  const auto stream = [&](Part part) {
    return Random(scene_seed, seed, static_cast<std::uint64_t>(split), index, part);
  };
  Random layout = stream(layout_part), background = stream(background_part), captions = stream(caption_part);
  Scene scene;
  scene.objects = draw_layout(layout);
  scene.image = draw_background(background);
  std::vector<std::string_view> phrases;
  for (const SceneObject& o : scene.objects) {
    paint(o, scene.image);
    phrases.push_back(emoji_classes()[static_cast<std::size_t>(o.concept_index)].phrase);
  }
  scene.captions = scene_captions(captions, phrases, scenes_captions);
  return scene;
}

}  // namespace vitral::data
