// Datasets and options of the tests of the loader.
#pragma once
#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "data/dataset_writer.h"
#include "data/hdf5/file.h"
#include "data/images/augment.h"
#include "data/images/image.h"
#include "data/loader.h"
#include "tests/noise.h"
#include "tests/support.h"

namespace vitral::data {

using test::noise_image;

inline Tensor embedding(std::int64_t i) {
  Tensor e({6});
  for (int d = 0; d < 6; ++d) e.data<float>()[d] = static_cast<float>(10 * i + d);
  return e;
}

/// n plain images of side x side, or (encoded) PNG files of several sizes of which those in `bad` are
/// damaged.
inline std::string write_dataset(const std::string& path, int n, int side, bool encoded = false,
                                 const std::vector<int>& bad = {}) {
  std::optional<DatasetWriter::Size> size;
  if (!encoded) size = DatasetWriter::Size{side, side};
  DatasetWriter w(path, size);
  for (int i = 0; i < n; ++i) {
    const std::string name = fmt::format("{}.png", i);
    if (!encoded) {
      w.add_image(noise_image(side, side, i), name, embedding(i));
      continue;
    }
    auto file = encode_png(noise_image(side + i % 5, side + i % 3, i));
    if (std::find(bad.begin(), bad.end(), i) != bad.end()) file.resize(file.size() / 2);
    w.add_encoded(file, name, embedding(i));
  }
  w.finish();
  return path;
}

inline LoaderOptions options(int workers, const AugmentConfig& augment = {}) {
  LoaderOptions o;
  o.batch_size = 7;
  o.image_size = 16;
  o.augment = augment;
  o.seed = 11;
  o.workers = workers;
  o.prefetch = 3;
  return o;
}

inline AugmentConfig strong() {
  AugmentConfig c = AugmentConfig::clip();
  c.resize = 20;
  c.blur = c.grayscale = c.flip = 0.5F;
  return c;
}

inline std::string write_views(const std::string& path, const std::vector<std::uint64_t>& seeds,
                               const std::string& transform) {
  constexpr std::int64_t n = 8;
  const auto views = static_cast<std::int64_t>(seeds.size());
  DatasetWriter w(path, DatasetWriter::Size{24, 24});
  Tensor vectors({n, views, 2});
  std::vector<std::uint64_t> all;
  for (std::int64_t i = 0; i < n; ++i) {
    w.add_image(noise_image(24, 24, i));
    for (std::int64_t v = 0; v < views; ++v) {
      vectors.data<float>()[(i * views + v) * 2] = static_cast<float>(i);
      vectors.data<float>()[(i * views + v) * 2 + 1] = static_cast<float>(v);
      const std::uint64_t seed = seeds[static_cast<std::size_t>(v)];
      all.push_back(seed == 0 ? 0 : seed + static_cast<std::uint64_t>(i));
    }
  }
  w.finish();
  H5File file = H5File::modify(path);
  file.write("/embeddings", vectors);
  file.write_uint64("/view_seeds", all, {n, views});
  file.set_attribute("transform", transform);
  return path;
}

}  // namespace vitral::data
