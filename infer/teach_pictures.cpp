#include "infer/teach_pictures.h"

#include <algorithm>
#include <exception>

#include "base/random.h"
#include "base/read_error.h"
#include "base/text.h"
#include "data/images/augment.h"
#include "data/images/image.h"
#include "data/images/regions.h"

namespace vitral::infer {

std::int64_t stored_views(const TeachOptions& o) {
  return o.views > 0 ? o.views + (o.plain_view ? 1 : 0) : 0;
}

std::uint64_t view_seed(const TeachOptions& o, std::int64_t image, std::int64_t view) {
  if (o.plain_view && view == 0) return 0;
  return std::max<std::uint64_t>(random_key(o.seed, view - (o.plain_view ? 1 : 0), image), 1);
}

PictureSource::PictureSource(const data::Dataset& dataset, const TeachOptions& options,
                             const models::ImageEncoder& teacher, int regions)
    : dataset_(dataset),
      options_(options),
      teacher_(teacher),
      size_(options.views > 0 && options.image_size > 0 ? options.image_size : teacher.config().image_size),
      regions_(regions) {}

Pictures PictureSource::read(std::int64_t first, std::int64_t count) const {
  const std::int64_t views = std::max<std::int64_t>(stored_views(options_), 1);
  const std::int64_t cells = std::int64_t{regions_} * regions_, own = teacher_.config().image_size;
  // Of a stretched image, regions are cut from the image itself, which has more pixels.
  const bool of_image = options_.views == 0 && options_.transform == data::PlainTransform::resize;
  Pictures out{Tensor::pinned({count * views, size_, size_, 3}, DType::uint8),
               {},
               std::vector<std::string>(static_cast<std::size_t>(count))};
  if (cells > 0) out.cells = Tensor::pinned({count * views * cells, own, own, 3}, DType::uint8);
  std::exception_ptr failure;
#pragma omp parallel for schedule(dynamic)
  for (std::int64_t i = 0; i < count; ++i) {
    try {
      Tensor image;
      std::int64_t min_side = -1;
      for (std::int64_t v = 0; v < views; ++v) {
        const std::int64_t k = i * views + v;
        Tensor picture = out.pixels.rows(k, k + 1).reshape({size_, size_, 3});
        // All views but the plain one are made of the same pixels.
        if (const std::int64_t wanted = min_side_of(first + i, v); wanted != min_side) {
          min_side = wanted;
          image = decode(first + i, min_side, out.problems[static_cast<std::size_t>(i)]);
        }
        if (image.defined())
          picture.copy_from(transform(image, first + i, v));
        else
          picture.fill(0);
        if (cells > 0)
          out.cells.rows(k * cells, (k + 1) * cells)
              .copy_from(teacher_.prepare_cells(of_image && image.defined() ? image : picture, regions_));
      }
    } catch (...) {
#pragma omp critical
      failure = std::current_exception();
    }
  }
  if (failure) std::rethrow_exception(failure);
  out.pixels = data::resize_batch(out.pixels, teacher_.config().image_size);
  return out;
}

std::int64_t PictureSource::min_side_of(std::int64_t i, std::int64_t view) const {
  return options_.views > 0 ? data::decode_min_side(options_.augment, size_, view_seed(options_, i, view))
                            : 0;
}

// Undefined where the stored file does not decode; what cannot be read at all is an error of the work.
Tensor PictureSource::decode(std::int64_t i, std::int64_t min_side, std::string& problem) const {
  if (dataset_.plain_size(i)) return dataset_.image(i);
  std::vector<std::uint8_t> bytes;
  dataset_.read_encoded(i, bytes);
  try {
    return dataset_.decode(i, bytes, min_side);
  } catch (const ReadError&) {
    throw;
  } catch (const Error& e) {
    problem = one_line(e.what());
    return {};
  }
}

Tensor PictureSource::transform(const Tensor& image, std::int64_t i, std::int64_t view) const {
  if (options_.views > 0) return data::augment(image, options_.augment, size_, view_seed(options_, i, view));
  return teacher_.prepare(image, options_.transform);
}

}  // namespace vitral::infer
