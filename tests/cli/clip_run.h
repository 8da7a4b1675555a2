// A CLIP that trains in a moment: images of noise, captions of a few words, the small vocabulary of
// tests/golden.
#pragma once
#include <string>
#include <vector>

#include <fmt/format.h>

#include "tests/cli/small_run.h"
#include "tests/models/tiny_clip.h"

namespace vitral::test {

/// Images of noise, each with as many of the captions; "" is none.
inline void write_captioned(const std::string& path, const std::vector<std::string>& captions,
                            std::int64_t each = 1, std::uint64_t seed = 1) {
  const std::int64_t images = static_cast<std::int64_t>(captions.size()) / each;
  data::H5File file = data::H5File::create(path);
  file.write("/images", noise({images, small_size, small_size, 3}, seed, DType::uint8), 1);
  file.write_strings("/captions", captions, {images, each});
  file.close();
}

/// Two captions of each image, one of every third.
inline std::vector<std::string> some_captions(std::int64_t images) {
  std::vector<std::string> out;
  for (std::int64_t i = 0; i < images; ++i) {
    out.push_back(fmt::format("a photo of {} cats", i));
    out.push_back(i % 3 == 0 ? "" : fmt::format("the {}th dog on a beach", i));
  }
  return out;
}

/// As SmallRun, which trains a student, of a CLIP.
class SmallClip : public SmallRun {
 public:
  explicit SmallClip(std::int64_t images = 24, bool validation = false) : SmallRun(images, validation) {
    write_captioned(train(), some_captions(images), 2);
    if (validation) write_captioned(*this / "val.h5", some_captions(16), 2, 7);
    write_config(fmt::format("{{kind: clip, image_size: {}, patch_size: 16, width: {}, vision: {{width: 32, "
                             "layers: 1, heads: 2}}, text: {{width: 32, layers: 1, heads: 2, context: 12, "
                             "vocabulary: {}}}}}",
                             small_size, small_width, small_merges),
                 validation);
  }
};

}  // namespace vitral::test
