// What a model is trained for: the terms of a loss, and what validation reports. Training, validation and
// checkpoints know a model through this alone, whatever it is made of.
//
// Another model that can be trained is a folder in models/ with an Objective, and a row in make_objective()
// (train/objective.h).
#pragma once
#include <functional>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "data/batch.h"
#include "data/dataset.h"
#include "data/text/text_tokenizer.h"
#include "data/weights/safetensors.h"
#include "nn/forward_context.h"
#include "nn/module.h"

namespace vitral::models {

/// A part of a loss, which is the sum over terms of weight * value.
struct Term {
  std::string name;
  double weight = 1;
  Variable value;  // [1]
};
Variable loss_of(const std::vector<Term>& terms);

/// Sums that are computed where the model is, and become numbers of the host when they are there.
struct Measured {
  std::vector<Tensor> numbers;                                               // [1] each
  std::function<std::vector<double>(std::span<const double> numbers)> sums;  // what they come to

  /// Of `numbers`, or copies of them on the host.
  std::vector<double> of(const std::vector<Tensor>& values) const;
  std::vector<double> wait() const { return of(numbers); }
};

/// What a term or a measure came to.
struct NamedValue {
  std::string name;
  double value = 0;
};
/// "loss 1.7628, cosine 0.5944".
std::string describe(const std::vector<NamedValue>& values);

/// The teacher's answers for places that a loss reads, beside those for whole images.
struct Places {
  Tensor regions;  // float32 [R,4], their boxes as in data/dataset.h; undefined: none
  int grid = 0;    // of patches: N = grid * grid; 0: none
};

class Objective {
 public:
  virtual ~Objective() = default;

  virtual nn::Module& model() = 0;
  /// What tells this architecture from others (model.width = "512", ...): goes into the metadata of weights,
  /// and must be the same where a run goes on.
  virtual std::map<std::string, std::string> metadata() const = 0;
  /// The same as the metadata of a file say it, what they leave out at its default; nothing where they say
  /// nothing of a model. Error naming `where` when they are not of this kind of model.
  virtual std::map<std::string, std::string> metadata_in(const std::map<std::string, std::string>& file,
                                                         const std::string& where) const = 0;
  /// The same of weights that came without metadata: what their tensors tell, else as this model has it.
  /// UsageError naming `where` when they are no such model's. What looks like a mistake adds a line to
  /// `warnings`.
  virtual std::map<std::string, std::string> metadata_of(
      const std::vector<std::pair<std::string, Tensor>>& weights, const std::string& where,
      std::vector<std::string>& warnings) const = 0;

  /// Weights of elsewhere to begin with, under the names of model(). What of them had to be guessed adds a
  /// line to `warnings`. UsageError or Error naming `path`: no such file, not this kind of model.
  virtual data::NamedTensors initial_weights(const std::string& path,
                                             std::vector<std::string>& warnings) const;
  /// Files that belong to the weights (a vocabulary), into the folder of a run.
  virtual void write_files(const std::string& /*folder*/) const {}

  /// Pixels a side of the images it wants.
  virtual int image_size() const = 0;
  /// D of the targets it wants; 0: it learns without.
  virtual int target_width() const = 0;
  /// What else of the teacher it wants, as wide.
  virtual Places places() const { return {}; }
  /// What makes Inputs::tokens of the captions of the data; without a tokeniser: it learns without captions.
  virtual data::CaptionTokens captions() const { return {}; }

  /// The terms of the loss on a micro-batch. The inputs are where the model is; activations are `dtype`.
  /// Terms are means over images, so that those of micro-batches add up by their share of the batch.
  virtual std::vector<Term> terms(const data::Inputs& inputs, DType dtype,
                                  const nn::ForwardContext& context) const = 0;

  /// F, where the loss compares all images of a batch with each other and is no mean over images: it is that
  /// of the whole batch then, whatever its micro-batches, slices and processes. 0: terms() are means.
  virtual std::int64_t feature_width() const { return 0; }
  /// What of each image such a loss compares: float32 [B,F], a row each image.
  virtual Variable features(const data::Inputs& inputs, DType dtype, const nn::ForwardContext& context) const;
  /// The terms over the features [R,F] of a whole batch: sums over its rows, divided by `images`. present:
  /// float32 [R], 1, or 0 for a row that is not there and holds ones; undefined: all are.
  virtual std::vector<Term> terms_of(const Variable& features, const Tensor& present,
                                     std::int64_t images) const;

  /// Whether the value of each term is recorded on its own, beside the loss.
  virtual bool records_terms() const { return true; }

  /// The names of what validation reports, means over images; the first is the loss, which the schedule and
  /// the choice of the best checkpoint go by.
  virtual std::vector<std::string> measures() const = 0;
  /// Of each the sum over the images, without gradients. With features(), those of the loss are made of them
  /// and nothing else is asked.
  virtual Measured measured(const data::Inputs& inputs, DType dtype) const = 0;
  std::vector<double> measure(const data::Inputs& inputs, DType dtype) const {
    return measured(inputs, dtype).wait();
  }
  /// What validation reports beside that, of a dataset as a whole. features: float32 [M,F] on the CPU of the
  /// images that could be read, `indices` of them in the dataset.
  virtual std::vector<NamedValue> measure_whole(const Tensor& features, std::span<const std::int64_t> indices,
                                                const data::Dataset& dataset) const;
};

/// From sums over batches to means over all their images.
class Means {
 public:
  explicit Means(std::vector<std::string> names) : names_(std::move(names)), sums_(names_.size()) {}
  void add(const std::vector<double>& sums, std::int64_t images);
  std::int64_t images() const { return images_; }
  std::vector<NamedValue> result() const;

 private:
  std::vector<std::string> names_;
  std::vector<double> sums_;
  std::int64_t images_ = 0;
};

}  // namespace vitral::models
