// The teacher's answers into a dataset file: what `vitral teach` does.
//
//   /embeddings [N,E], of each image as it is; or [N,V,E] with V views, and /view_seeds [N,V]
//   /regions/embeddings [N,R,E] or [N,V,R,E], of the R = G G cells of a grid over each view; /regions/boxes
//   [R,4] /patches/embeddings [N,N',E] or [N,V,N',E], its dense tokens (NACLIP) on the student's grid
//
// What of these the file has and is not replaced stays as it is.
//
// View v of image i is what training with the same seed and augmentation shows of it in epoch v: its seed is
// random_key(seed, v, i) (at least 1), as data/loader.h draws it. So a student that trains on stored views
// and one that has the teacher in the loop see the same pixels and the same targets.
//
// The teacher sees the pixels that the student sees, as in the original: views have the student's size and
// are resized where the teacher's is another. Embeddings are stored as CLIP gives them, not of unit length.
// An image that does not decode gets zeros; training leaves it out.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "data/images/augment_config.h"
#include "data/images/transform.h"
#include "data/loader.h"
#include "models/pretrained/image_encoder.h"
#include "processes/group.h"

namespace vitral::infer {

struct TeachOptions {
  std::string file;          // the dataset
  data::DatasetNames names;  // of its images; embeddings become /embeddings
  std::string teacher;       // the weights; for the attribute `teacher` and to distinguish journals
  data::PlainTransform transform = data::PlainTransform::resize;  // without views
  std::int64_t views = 0;
  bool plain_view = false;  // with views: one more before them, seed 0, which validation needs
  data::AugmentConfig augment = data::AugmentConfig::clip();
  int image_size = 0;  // of the student, of views; 0: the teacher's
  std::uint64_t seed = 0;
  DType dtype = DType::float32;         // or float16
  int regions = 0;                      // G: also of the cells of a G x G grid; 0: without
  int patches = 0;                      // g: also of patches, on a g x g grid; 0: without
  data::Exif exif = data::Exif::apply;  // of encoded images; stored as the attribute `exif`
  std::int64_t batch_size = 64;         // pictures that the teacher sees at once
  bool restart = false;                 // forget what an interrupted run has left
  bool force = false;                   // replace what is there of these
  bool in_place = false;                // change the file itself instead of a copy that replaces it
  std::function<void(std::int64_t done, std::int64_t total)> progress = {};
  std::function<void(const std::string& line)> note = {};  // what people should know, before the work
  /// Asked after each batch; a signal instead of 0: what is done is kept for the next run.
  std::function<int()> stop = {};
  Group* group = &alone();  // that shares the images; its first process writes the file
};

struct TeachSummary {
  std::int64_t images = 0, views = 0;                       // views: stored of each image, 0: [N,E]
  std::vector<std::pair<data::Target, std::int64_t>> made;  // what was not there, and places of each picture
  std::int64_t resumed = 0;                                 // images that an interrupted run had done
  int signal = 0;                                           // that stopped it
  std::vector<data::SkippedSample> skipped;                 // did not decode, in this run
};

/// Work goes to FILE.teach first (data/embedding_journal.h), from where an interrupted run goes on; then a
/// copy of the file with the embeddings takes its name, or with in_place the file itself is changed.
/// UsageError: options that do not fit, a file that has all of it without `force`, a teacher without dense
/// tokens, targets that stay in the file and are of other views; Error: the disk is full, what is done is
/// kept.
TeachSummary teach(const models::ImageEncoder& teacher, const TeachOptions& options);

}  // namespace vitral::infer
