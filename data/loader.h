// Training batches from a dataset: worker threads read, decode and augment beside the training step.
//
//   Loader loader(Dataset::open(paths), {.batch_size = 64, .augment = AugmentConfig::clip()});
//   for (int epoch = 0; epoch < epochs; ++epoch) {
//     loader.begin_epoch(epoch);
//     while (auto batch = loader.next()) step(batch->images, batch->targets);
//   }
//
// Order and contents are a pure function of (seed, epoch, index): the same bytes for any number of workers
// and after a start in mid-epoch. Shuffling is Fisher-Yates with Random(seed, epoch); sample i is augmented
// with random_key(seed, epoch, i), or with the seed of its stored view number Random(seed, epoch,
// i).below(V).
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "data/batch.h"
#include "data/dataset.h"
#include "data/images/augment_config.h"
#include "data/text/text_tokenizer.h"
#include "tensor/tensor.h"

namespace vitral::data {

/// "the embedding of a.jpg in train.h5 is zero" (or "not finite", or "too large" or "too small for float32":
/// the sum of its squares is beyond FLT_MAX or below FLT_MIN), for the first target of the batch that no
/// student can learn because it has no direction that float32 can tell; "" where all have one.
std::string target_problem(const Batch& batch, const Dataset& dataset);

struct LoaderOptions {
  std::int64_t batch_size = 64;
  int image_size = 224;        // S, pixels
  AugmentConfig augment = {};  // training only
  /// false: validation. The plain transform, the view with seed 0 where views are stored, no shuffling.
  bool training = true;
  bool shuffle = true;
  /// Of those that the dataset was opened with, or its embeddings; empty: images alone.
  std::vector<Target> targets{Target::image};
  /// Where it has a tokeniser, Inputs::tokens: of the first caption of each image, in training of number
  /// Random(seed, epoch, i, 1).below(captions).
  CaptionTokens captions{};
  std::uint64_t seed = 0;
  int workers = 2;      // threads; 0 loads in the caller
  bool pinned = false;  // batches lie in pinned memory (Tensor::pinned), for copies to a GPU
  /// Leaves what is random of the augmentation to the reader of the pixels: Batch::images are whole then, and
  /// Batch::augmentations says what is to be done to them; the result has the pixels of augment() to the bit.
  /// Only in training, where all images have one size when the dice fall (they are resized first, or all are
  /// plain and of one size), at most 4 times the pixels that are cut from them, and where none is resized
  /// after that (with random_crop, or of image_size already). Without effect elsewhere.
  bool defer_augmentation = false;
  int prefetch = 4;  // batches that wait for the consumer, at most; at least 1
  /// Of several processes, what this one loads: slices [first_slice, last_slice) of each batch, which is cut
  /// into so many (of n images, slice k ends at n (k + 1) / slices); and every `stride`-th batch.
  std::int64_t slices = 1, first_slice = 0, last_slice = 1;
  std::int64_t stride = 1;
};

class Loader {
 public:
  /// UsageError: options out of range, an empty dataset, no embeddings or captions where they are wanted,
  /// stored views that another transform replays, and in validation stored views none of which has seed 0.
  /// Begins epoch 0.
  Loader(Dataset dataset, const LoaderOptions& options);
  ~Loader();  // at any time: the workers stop after the sample at hand
  Loader(Loader&&) noexcept;
  Loader& operator=(Loader&&) noexcept;

  /// The next batch, nullopt at the end of the epoch. Throws what a worker threw: Error for a file that
  /// cannot be read. Embeddings come as they are stored: see target_problem().
  std::optional<Batch> next();
  /// Starts an epoch at one of its batches (0 <= first_batch <= batches_per_epoch()); what was prefetched is
  /// dropped.
  void begin_epoch(std::int64_t epoch, std::int64_t first_batch = 0);

  /// Including the last, partial one.
  std::int64_t batches_per_epoch() const;
  /// Seconds that next() has waited for data since the loader was made (without workers: all its time).
  double wait_seconds() const;
  const Dataset& dataset() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace vitral::data
