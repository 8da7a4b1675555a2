// Image files to a file of embeddings: what `vitral embed` does.
//
//   /names utf-8 [N]   /embeddings float32 [N,D]   /probs float32 [N,P]
//   /patch_embeddings float32 [N,P,D], on request
//   /skipped/names, /skipped/reasons utf-8 [S]: the files that do not decode, where there are some
//
// P = patches of an image. Attributes: model (the weights), transform ("resize", or "scaled_decode,resize").
#pragma once
#include <functional>

#include "data/image_files.h"
#include "data/images/image.h"
#include "models/student/encoder.h"
#include "processes/group.h"

namespace vitral::infer {

struct EmbedOptions {
  std::string output;
  std::string weights;         // for the attribute
  bool patches = false;        // also /patch_embeddings
  bool scaled_decode = false;  // of JPEG files, see read_images()
  data::Exif exif = data::Exif::apply;
  std::int64_t batch_size = 64;
  bool restart = false;  // forget what an interrupted run has left
  std::function<void(std::int64_t done, std::int64_t total)> progress = {};
  /// Asked after each batch; a signal instead of 0: what is done is kept for the next run.
  std::function<int()> stop = {};
  Group* group = &alone();  // that shares the files; its first process writes the output
};

struct EmbedSummary {
  std::int64_t found = 0, embedded = 0;
  std::int64_t resumed = 0;                // files that an interrupted run had done
  int signal = 0;                          // that stopped it
  std::vector<data::SkippedFile> skipped;  // did not decode; never replaced
};

/// Images are resized to the student's size as in validation (bilinear with antialias, as Pillow). Rows go to
/// OUTPUT.embed first (data/embedding_journal.h), from where an interrupted run of the same images and
/// weights goes on; memory holds one batch. The output replaces an older one, whole or not at all; nothing is
/// written when no image decodes. UsageError: a place where it cannot be written (base/files/output_file.h),
/// OUTPUT.embed of another run; Error: the disk is full, what is done is kept.
EmbedSummary embed_files(const models::Encoder& encoder, const std::vector<data::ImageFile>& images,
                         const EmbedOptions& options);

}  // namespace vitral::infer
