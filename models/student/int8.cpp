#include "models/student/int8.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>

#include "autograd/trace.h"
#include "base/vectors.h"
#include "models/student/encoder.h"

namespace vitral::models {
namespace {

// The exponents that are tried.
constexpr std::array smoothings{0.0, 0.25, 0.4, 0.5, 0.6, 0.75};

using State = std::map<std::string, Tensor>;
// Of each weight that linear layers multiply with: the largest |x_j| that it was multiplied with.
using Peaks = std::map<std::string, std::vector<float>>;

// Channels between two layers: a factor that some rows are divided by, and columns multiplied with, changes
// nothing but how they are rounded.
struct Channels {
  struct Rows {
    std::string name;
    std::int64_t first = 0;  // as many as there are channels
  };
  std::vector<Rows> made_by;
  std::vector<std::string> read_by;
};

std::vector<Channels> channels_of(const StudentConfig& config, const State& state) {
  const std::int64_t width = config.internal_width();
  std::vector<Channels> out;
  const auto add = [&](const std::string& block, std::vector<Channels::Rows> made_by,
                       std::vector<std::string> read_by) {
    for (auto& rows : made_by) rows.name.insert(0, block);
    for (auto& name : read_by) name.insert(0, block);
    // A norm without bias, an MLP of another kind.
    std::erase_if(made_by, [&](const auto& rows) { return !state.contains(rows.name); });
    std::erase_if(read_by, [&](const auto& name) { return !state.contains(name); });
    if (!read_by.empty()) out.push_back({std::move(made_by), std::move(read_by)});
  };
  for (int layer = 0; layer < config.layers; ++layer) {
    const std::string block = fmt::format("transformer.resblocks.{}.", layer);
    add(block, {{"attn.in_proj_weight", 2 * width}, {"attn.in_proj_bias", 2 * width}},
        {"attn.out_proj.weight"});
    add(block, {{"ln_1.weight"}, {"ln_1.bias"}}, {"attn.in_proj_weight"});
    add(block, {{"mlp.w2.weight"}}, {"mlp.w3.weight"});
    add(block, {{"ln_2.weight"}, {"ln_2.bias"}}, {"mlp.c_fc.weight", "mlp.w1.weight", "mlp.w2.weight"});
  }
  return out;
}

void keep_largest(std::vector<float>& largest, const Tensor& rows) {
  const std::int64_t columns = rows.dim(-1);
  largest.resize(static_cast<std::size_t>(columns));
  const float* x = rows.data<float>();
  for (std::int64_t r = 0; r < rows.numel() / columns; ++r, x += columns)
    for (std::int64_t i = 0; i < columns; ++i) {
      float& most = largest[static_cast<std::size_t>(i)];
      most = std::max(most, std::fabs(x[i]));
    }
}

Peaks peaks_of(const Student& student, const ImageBatches& images) {
  std::map<const void*, std::string> names;
  for (const auto& [name, tensor] : student.state()) names[tensor.raw()] = name;
  Peaks peaks;
  images([&](const Tensor& batch) {
    constexpr std::int64_t at_once = 8;  // a trace keeps all that is computed
    for (std::int64_t begin = 0; begin < batch.dim(0); begin += at_once) {
      const Trace trace;
      static_cast<void>(student.of_patches(
          pixel_patches(student.config(), batch.rows(begin, std::min(batch.dim(0), begin + at_once)))));
      for (const auto& step : trace.operations())
        if (step.name == "linear") keep_largest(peaks[names.at(step.inputs[1].raw())], step.inputs[0]);
    }
  });
  return peaks;
}

// Factors s of the channels, divided out of what makes them and multiplied into what reads them.
void smooth(State& state, const Channels& channels, const Peaks& peaks, double exponent) {
  const std::vector<float>& activations = peaks.at(channels.read_by[0]);
  std::vector<float> weights;
  for (const auto& name : channels.read_by) keep_largest(weights, state.at(name));
  std::vector<float> s(activations.size(), 1);
  for (std::size_t j = 0; j < s.size(); ++j)
    if (activations[j] > 0 && weights[j] > 0)
      s[j] = static_cast<float>(std::pow(activations[j], exponent) / std::pow(weights[j], 1 - exponent));
  const auto count = static_cast<std::int64_t>(s.size());
  for (const auto& [name, first] : channels.made_by) {
    Tensor& t = state.at(name) = state.at(name).clone();
    const std::int64_t columns = t.numel() / t.dim(0);
    float* row = t.data<float>() + first * columns;
    for (std::int64_t j = 0; j < count; ++j, row += columns)
      for (std::int64_t i = 0; i < columns; ++i) row[i] /= s[static_cast<std::size_t>(j)];
  }
  for (const auto& name : channels.read_by) {
    Tensor& t = state.at(name) = state.at(name).clone();
    float* row = t.data<float>();
    for (std::int64_t o = 0; o < t.dim(0); ++o, row += count)
      for (std::int64_t j = 0; j < count; ++j) row[j] *= s[static_cast<std::size_t>(j)];
  }
}

std::unique_ptr<Student> quantized(const StudentConfig& config, const State& state,
                                   const std::string& where) {
  auto student = student_of(config, {state.begin(), state.end()}, where);
  student->quantize_weights();
  student->pack_weights();
  return student;
}

// Best patches of images: by their weights, or by their embeddings where weights tell nothing.
std::vector<std::int64_t> best_patches(const StudentOutput& y, bool weighted) {
  const std::int64_t n = y.patches.dim(1), w = y.patches.dim(2);
  std::vector<std::int64_t> out;
  for (std::int64_t i = 0; i < y.patches.dim(0); ++i) {
    std::vector<double> scores;
    for (std::int64_t k = i * n; k < (i + 1) * n; ++k)
      scores.push_back(weighted ? y.probs.value().data<float>()[k]
                                : cosine(y.patches.value().data<float>() + k * w,
                                         y.embedding.value().data<float>() + i * w, w));
    out.push_back(std::ranges::max_element(scores) - scores.begin());
  }
  return out;
}

// The drift over the batches so far.
class Drift {
 public:
  explicit Drift(bool weighted) : weighted_(weighted) {}

  void add(const StudentOutput& floats, const StudentOutput& ints) {
    embedding_.add(floats.embedding.value(), ints.embedding.value());
    patch_.add(floats.patches.value(), ints.patches.value());
    const auto a = best_patches(floats, weighted_), b = best_patches(ints, weighted_);
    for (std::size_t i = 0; i < a.size(); ++i) same_best_ += a[i] == b[i] ? 1 : 0;
  }

  /// Less is better.
  double amount() const { return (1 - embedding_.mean()) + (1 - patch_.mean()); }
  Int8Drift result() const {
    return {.images = embedding_.count,
            .embedding = embedding_.mean(),
            .least_embedding = embedding_.least,
            .patch = patch_.mean(),
            .least_patch = patch_.least,
            .best_patch = static_cast<double>(same_best_) / static_cast<double>(embedding_.count)};
  }

 private:
  struct Cosines {
    double sum = 0, least = 1;
    std::int64_t count = 0;

    // Rows of both.
    void add(const Tensor& a, const Tensor& b) {
      const std::int64_t w = a.dim(-1), rows = a.numel() / w;
      for (std::int64_t r = 0; r < rows; ++r) {
        const double value = cosine(a.data<float>() + r * w, b.data<float>() + r * w, w);
        sum += value;
        least = std::min(least, value);
      }
      count += rows;
    }
    double mean() const { return sum / static_cast<double>(count); }
  };

  bool weighted_;
  Cosines embedding_, patch_;
  std::int64_t same_best_ = 0;
};

void check_finite(const Student& student, const std::string& where) {
  for (const auto& [name, tensor] : student.state())
    if (!all_finite(tensor.data<float>(), tensor.numel()))
      throw_error("{}: weights '{}' hold values that are not finite; take an earlier checkpoint", where,
                  name);
}

}  // namespace

Int8Student quantize_student(const StudentConfig& config, const data::NamedTensors& tensors,
                             const std::string& where, const ImageBatches& images) {
  const NoGrad no_grad;
  const auto floats = student_of(config, tensors, where);
  check_finite(*floats, where);
  const auto named = floats->state();
  const State state(named.begin(), named.end());
  if (!images) return {.student = quantized(config, state, where)};
  floats->pack_weights();
  const Peaks peaks = peaks_of(*floats, images);
  struct Candidate {
    std::unique_ptr<Student> student;
    Drift drift;
  };
  std::vector<Candidate> candidates;
  for (const double exponent : smoothings) {
    State smoothed = state;
    if (exponent > 0)
      for (const Channels& channels : channels_of(config, state)) smooth(smoothed, channels, peaks, exponent);
    candidates.push_back({quantized(config, smoothed, where), Drift(config.head != "mean")});
  }
  images([&](const Tensor& batch) {
    const Variable patches = pixel_patches(config, batch);
    const StudentOutput expected = floats->of_patches(patches);
    for (Candidate& c : candidates) c.drift.add(expected, c.student->of_patches(patches));
  });
  double least = std::numeric_limits<double>::infinity();
  for (const Candidate& c : candidates) least = std::min(least, c.drift.amount());
  // Within a quarter, chance decides about the drift, and about best patches of few images as well.
  const auto rank = [&](const Candidate& c) {
    const double amount = c.drift.amount();
    return amount <= 1.25 * least ? std::pair(-c.drift.result().best_patch, amount) : std::pair(1.0, amount);
  };
  const auto chosen = std::ranges::min_element(candidates, {}, rank);
  return {std::move(chosen->student), smoothings[static_cast<std::size_t>(chosen - candidates.begin())],
          chosen->drift.result()};
}

}  // namespace vitral::models
