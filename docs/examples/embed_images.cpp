// What embed.c does, with vitral's own classes.
//
//   embed_images STUDENT CLIP PICTURE TEXT...
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "data/images/image.h"
#include "data/images/transform.h"
#include "models/pretrained/text_encoder.h"
#include "models/student/encoder.h"

using namespace vitral;

double cosine(const float* a, const float* b, std::int64_t count) {
  double ab = 0, aa = 0, bb = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    ab += double{a[i]} * b[i];
    aa += double{a[i]} * a[i];
    bb += double{b[i]} * b[i];
  }
  return ab / std::sqrt(aa * bb);
}

int main(int argc, char** argv) try {
  if (argc < 5) throw_error<UsageError>("usage: embed_images STUDENT CLIP PICTURE TEXT...");
  const std::vector<std::string> words(argv + 4, argv + argc);
  const models::Encoder student = models::Encoder::load(argv[1]);
  const models::TextEncoder clip = models::TextEncoder::load(argv[2]);

  const int size = student.config().image_size;
  const Tensor pixels = data::validation_transform(data::read_image(argv[3]), size);  // uint8 [S,S,3]
  const models::ImageEmbeddings image = student.embed(pixels.reshape({1, size, size, 3}));
  const Tensor texts = clip.embed(words);  // [T,D]

  const std::int64_t n = image.patches.dim(1), d = image.patches.dim(2);
  VITRAL_CHECK(texts.dim(1) == d, "{} and {} have embeddings of other widths", argv[1], argv[2]);
  for (std::size_t t = 0; t < words.size(); ++t) {
    const float* text = texts.data<float>() + static_cast<std::int64_t>(t) * d;
    const auto of_patch = [&](std::int64_t i) {
      return cosine(image.patches.data<float>() + i * d, text, d);
    };
    std::int64_t best = 0;
    for (std::int64_t i = 1; i < n; ++i)
      if (of_patch(i) > of_patch(best)) best = i;
    std::printf("%.3f  patch %d  %s\n", cosine(image.embeddings.data<float>(), text, d),
                static_cast<int>(best), words[t].c_str());
  }
  return 0;
} catch (const Error& e) {
  std::fprintf(stderr, "embed_images: %s\n", e.what());
  return 1;
}
