#include "data/benchmarks/scene_captions.h"

#include <array>
#include <numeric>
#include <utility>

#include "base/error.h"

namespace vitral::data {
namespace {

// {} stands for the objects. No verb is one that would follow their number.
constexpr std::array<std::string_view, 12> wordings{
    "a photo of {}",
    "there is {}",
    "a picture of {}",
    "an image with {}",
    "{}",
    "here is {}",
    "you can see {}",
    "this picture shows {}",
    "a small scene with {}",
    "look, {}",
    "in this image there is {}",
    "somebody has drawn {}",
};

// Between the first two of several objects. The rest follows as in a list.
constexpr std::array<std::string_view, 3> relations{" next to ", " beside ", " with "};

template <class T>
void shuffle(Random& random, std::vector<T>& values) {
  for (std::size_t i = values.size(); i > 1; --i) std::swap(values[i - 1], values[random.below(i)]);
}

// "an apple", "an apple and a dog", "an apple, a dog and a sailboat", "an apple next to a dog and a sailboat"
std::string list_of(Random& random, const std::vector<std::string_view>& objects) {
  const bool related = objects.size() > 1 && random.below(2) == 0;
  const std::string_view relation = relations[random.below(relations.size())];
  std::string text;
  for (std::size_t i = 0; i < objects.size(); ++i) {
    if (i == 1 && related)
      text += relation;
    else if (i > 0)
      text += i + 1 == objects.size() ? " and " : ", ";
    text += objects[i];
  }
  return text;
}

}  // namespace

int scene_wordings() { return static_cast<int>(wordings.size()); }

std::vector<std::string> scene_captions(Random& random, const std::vector<std::string_view>& objects,
                                        int count) {
  VITRAL_CHECK(count >= 0 && count <= scene_wordings(), "scenes: {} captions of an image; at most {} differ",
               count, scene_wordings());
  std::vector<std::size_t> order(wordings.size());
  std::iota(order.begin(), order.end(), 0);
  shuffle(random, order);
  std::vector<std::string> out;
  for (int k = 0; k < count; ++k) {
    auto shuffled = objects;
    shuffle(random, shuffled);
    std::string text(wordings[order[static_cast<std::size_t>(k)]]);
    out.push_back(text.replace(text.find("{}"), 2, list_of(random, shuffled)));
  }
  return out;
}

}  // namespace vitral::data
