// COCO's instances files: {"images": [...], "categories": [...], "annotations": [...]}.
#pragma once
#include <cstdint>
#include <string>

#include "base/files/input_file.h"
#include "data/annotations/annotations.h"

namespace vitral::data {

/// Reads the file as it comes, event by event: what stays in memory is boxes, and where in the file each
/// region stands, 64 bytes an annotation and some hundred an image; never the document. Concepts are the
/// categories in their order in the file, images those of the file in its order (`name`: file_name; the path
/// is empty).
///
/// Error, one line with the file and what of it: no JSON (at which byte), cut off; an image without id,
/// file_name, or twice; a category without name, or two of one; an annotation of an image or a category that
/// is not there, without box, with a mask that is none.
Annotations read_coco(const InputFile& file);

/// The region of an annotation of that file, from any thread. Error: the file is another one now.
Region read_coco_region(const InputFile& file, const AnnotatedObject& object);

}  // namespace vitral::data
