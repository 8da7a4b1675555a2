// Inside data/benchmarks only: what people would say of a scene.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "base/random.h"

namespace vitral::data {

/// `count` captions of one image, each in another of the wordings, the objects (phrases with their articles,
/// 1 to 3) in an order drawn for each: "a photo of an apple and a dog", "here is a dog next to an apple".
std::vector<std::string> scene_captions(Random& random, const std::vector<std::string_view>& objects,
                                        int count);

/// How many wordings there are; no more captions can be asked for.
int scene_wordings();

}  // namespace vitral::data
