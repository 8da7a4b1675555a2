// Images to look at, from wherever they lie: dataset files, image files and folders of them.
//
//   const ImageSource photos = ImageSource::open({"photos"});
//   for (std::int64_t i = 0; i < photos.size(); ++i) show(photos.name(i), photos.image(i));
#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "data/image_files.h"

namespace vitral::data {

class ImageSource {
 public:
  /// Dataset files, or image files and folders (searched as vitral pack does it). UsageError: both at once,
  /// nothing there, and what Dataset::open() and list_images() say.
  static ImageSource open(const std::vector<std::string>& inputs, Exif exif = Exif::apply,
                          const DatasetNames& names = {});

  std::int64_t size() const;
  /// The path relative to the folder that was given, the file's own name, or the entry of /names; "image 17"
  /// where a dataset has no names.
  std::string name(std::int64_t i) const;
  std::vector<std::string> names() const;
  /// uint8 [H,W,3]. Error: it does not decode.
  Tensor image(std::int64_t i) const;
  /// What was opened first, for messages.
  const std::string& path() const { return path_; }
  /// What the search of folders has passed over.
  const LeftOut& left_out() const { return left_out_; }
  const std::optional<Dataset>& dataset() const { return dataset_; }

 private:
  std::string path_;
  std::optional<Dataset> dataset_;  // either this
  std::vector<ImageFile> files_;    // or these
  LeftOut left_out_;
  Exif exif_ = Exif::apply;
};

/// Every image once, in order, decoded by the machine's cores ahead of their turn. `skip` gets those that do
/// not decode, with the reason as one line; they are left out.
void for_each_image(const ImageSource& source,
                    const std::function<void(std::int64_t index, const Tensor& image)>& take,
                    const std::function<void(const SkippedFile&)>& skip);

}  // namespace vitral::data
