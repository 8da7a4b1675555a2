// Image files into dataset files: what `vitral pack` does.
#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "data/annotated_images.h"
#include "data/image_files.h"
#include "data/images/image.h"

namespace vitral::data {

struct PackOptions {
  std::vector<std::string> inputs;  // folders and files, see list_images(), and archives, see data/archive.h
  AnnotationOptions annotations;    // what is noted of the images, or of images of their own
  /// A file of captions, see give_captions(). Without, those beside the images: the lines of NAME.txt, and
  /// what archives have.
  std::string captions = {};
  std::string output;
  int size =
      300;  // stretched to size x size (bilinear, as Pillow) and stored plain; attribute `stored` says so
  /// JPEG files are decoded at a fraction of their size where that is at least 2 size a side
  /// (decode_image()).
  bool scaled_decode = false;
  Exif exif = Exif::apply;  // of pixels that are stored
  bool encoded = false;     // instead: the files as they are, after checking that they decode
  /// At most N of the files whose name matches the glob pattern, the first ones; `*` matches `/` too. A file
  /// must be within the limit of every pattern that it matches.
  std::vector<std::pair<std::string, std::int64_t>> limits;
  /// Share of the images that go to val_output, decided by a hash of each name: adding files moves none.
  double val_fraction = 0;
  std::string val_output;
  bool force = false;  // replace existing files
  int workers = 0;     // threads that decode; 0: one a core
  std::function<void(std::int64_t done, std::int64_t total)> progress;
};

struct PackSummary {
  std::int64_t found = 0, train = 0, val = 0;  // files; images for output and val_output
  bool written = false;                        // false: an output would have had no image
  LeftOut left_out;                            // in folders, no images
  std::vector<SkippedFile> skipped;            // did not decode, or folders not searched; never replaced
  // With annotations, of both outputs together:
  std::int64_t concepts = 0, objects = 0, masks = 0;
  std::int64_t captions = 0, captioned = 0;  // of both outputs: how many, and images that have some
};

/// Writes the datasets; outputs appear whole or not at all, and none where one would be empty.
/// UsageError: options that do not fit, a pattern that matches nothing, an output that exists without
/// `force`, annotations or captions of images that are not there; Error: the disk is full, annotations that
/// do not fit their images.
PackSummary pack(const PackOptions& options);

}  // namespace vitral::data
