// The captions file of COCO (captions_val2017.json): images with id and file_name, annotations with image_id
// and caption.
#pragma once
#include <functional>
#include <string>

#include "base/files/input_file.h"

namespace vitral::data {

/// take(file name, caption) for each annotation; of those that stand before the images, after these. The file
/// is read as a stream, so that its size is no matter; the names of its images are kept. Error, one line with
/// the file and what is wrong: cut off, no JSON, an annotation without image_id or caption, or of an image
/// that is not there.
void read_coco_captions(
    const InputFile& file,
    const std::function<void(const std::string& image, const std::string& caption)>& take);

}  // namespace vitral::data
