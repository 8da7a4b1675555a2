#include "infer/read_images.h"

#include <algorithm>
#include <cstring>
#include <exception>

#include "base/files/input_file.h"
#include "base/text.h"
#include "data/images/transform.h"

namespace vitral::infer {

ImageBatch read_images(std::span<const data::ImageFile> files, const std::vector<int>& sizes, data::Exif exif,
                       bool scaled_decode) {
  const std::int64_t min_side =
      scaled_decode ? data::min_side_for(*std::max_element(sizes.begin(), sizes.end())) : 0;
  const auto count = static_cast<std::int64_t>(files.size());
  std::vector<std::vector<Tensor>> decoded(files.size());  // [file][size]
  ImageBatch out;
  out.problems.resize(files.size());
  std::exception_ptr failure;  // of the machine, not of a file
#pragma omp parallel for schedule(dynamic)
  for (std::int64_t i = 0; i < count; ++i) {
    const auto k = static_cast<std::size_t>(i);
    try {
      if (!files[k].problem.empty()) throw_error("{}", files[k].problem);
      const Tensor image = data::read_image(files[k].path, {.min_side = min_side, .exif = exif});
      for (const int size : sizes) decoded[k].push_back(data::validation_transform(image, size));
    } catch (const ReadError&) {
#pragma omp critical
      failure = std::current_exception();
    } catch (const Error& e) {
      decoded[k].clear();
      out.problems[k] = one_line(e.what());
    } catch (...) {
#pragma omp critical
      failure = std::current_exception();
    }
  }
  if (failure) std::rethrow_exception(failure);
  for (std::int64_t i = 0; i < count; ++i)
    if (out.problems[static_cast<std::size_t>(i)].empty()) out.usable.push_back(i);
  const auto usable = static_cast<std::int64_t>(out.usable.size());
  for (std::size_t s = 0; s < sizes.size(); ++s) {
    if (usable == 0) break;
    Tensor batch = Tensor::pinned({usable, sizes[s], sizes[s], 3}, DType::uint8);
    for (std::int64_t r = 0; r < usable; ++r) {
      const Tensor& image = decoded[static_cast<std::size_t>(out.usable[static_cast<std::size_t>(r)])][s];
      std::memcpy(batch.data<std::uint8_t>() + r * image.numel(), image.raw(), image.bytes());
    }
    out.pixels.push_back(std::move(batch));
  }
  out.pixels.resize(sizes.size());
  return out;
}

}  // namespace vitral::infer
