#include "data/image_source.h"

#include <algorithm>
#include <thread>

#include "base/files/input_file.h"
#include "base/ordered.h"
#include "base/text.h"
#include "data/hdf5/file.h"
#include "data/images/image.h"

namespace vitral::data {

ImageSource ImageSource::open(const std::vector<std::string>& inputs, Exif exif, const DatasetNames& names) {
  VITRAL_CHECK(!inputs.empty(), "no images given");
  const auto is_dataset = [](const std::string& path) { return H5File::is_hdf5(path); };
  const auto other = std::find_if_not(inputs.begin(), inputs.end(), is_dataset);
  const auto dataset = std::find_if(inputs.begin(), inputs.end(), is_dataset);
  if (dataset != inputs.end() && other != inputs.end())
    throw_error<UsageError>("{} is a dataset but {} is not; give datasets, or images and folders", *dataset,
                            *other);
  ImageSource source;
  source.path_ = inputs.front();
  VITRAL_CHECK(other == inputs.end() || names == DatasetNames{},
               "{}: is no HDF5 file; names of datasets are for those", *other);
  if (other == inputs.end())
    source.dataset_ = Dataset::open(inputs, names);
  else
    source.files_ = list_images(inputs, &source.left_out_);
  source.exif_ = exif;
  if (source.dataset_) source.dataset_->set_exif(exif);
  VITRAL_CHECK(source.size() > 0, "{}: has no images", source.path_);
  return source;
}

std::int64_t ImageSource::size() const {
  return dataset_ ? dataset_->size() : static_cast<std::int64_t>(files_.size());
}

std::string ImageSource::name(std::int64_t i) const {
  if (!dataset_) return files_[static_cast<std::size_t>(i)].name;
  return dataset_->has_name(i) ? dataset_->name(i) : fmt::format("image {}", i);
}

std::vector<std::string> ImageSource::names() const {
  std::vector<std::string> out;
  out.reserve(static_cast<std::size_t>(size()));
  for (std::int64_t i = 0; i < size(); ++i) out.push_back(name(i));
  return out;
}

Tensor ImageSource::image(std::int64_t i) const {
  if (dataset_) return dataset_->image(i);
  const ImageFile& file = files_[static_cast<std::size_t>(i)];
  if (!file.problem.empty()) throw_error("{}", file.problem);
  return read_image(file.path, {.exif = exif_});
}

void for_each_image(const ImageSource& source,
                    const std::function<void(std::int64_t index, const Tensor& image)>& take,
                    const std::function<void(const SkippedFile&)>& skip) {
  struct Decoded {
    Tensor image;
    std::string problem;
  };
  const auto load = [&](std::int64_t i) {
    Decoded decoded;
    try {
      decoded.image = source.image(i);
    } catch (const ReadError&) {
      throw;
    } catch (const Error& e) {
      decoded.problem = one_line(e.what());
    }
    return decoded;
  };
  const int workers = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  parallel_ordered(source.size(), workers, std::int64_t{4} * workers, load,
                   [&](std::int64_t i, const Decoded& decoded) {
                     if (decoded.image.defined())
                       take(i, decoded.image);
                     else
                       skip({source.name(i), decoded.problem});
                   });
}

}  // namespace vitral::data
