// What the benchmarks share that vitral makes itself: two splits, samples made by all threads, files that are
// the same for any number of them.
#pragma once
#include <algorithm>
#include <array>
#include <cstdint>
#include <exception>
#include <string>
#include <utility>
#include <vector>

#include "data/dataset.h"
#include "tensor/tensor.h"

namespace vitral::data {

enum class Split : std::uint8_t { train, val };  // different samples under the same seed

/// What was written.
struct BenchmarkFile {
  std::int64_t images = 0;
  std::int64_t objects = 0;
  std::uint64_t bytes = 0;
};

/// make(i) for i of 0 .. count-1 on all threads, and take(i, sample) in this order on this one, some hundred
/// at a time: that bounds the memory, whatever their number.
template <class Make, class Take>
void make_samples(std::int64_t count, Make&& make, Take&& take) {
  constexpr std::int64_t block = 512;
  using Sample = decltype(make(std::int64_t{}));
  for (std::int64_t begin = 0; begin < count; begin += block) {
    std::vector<Sample> samples(static_cast<std::size_t>(std::min(block, count - begin)));
    const auto n = static_cast<std::int64_t>(samples.size());
    std::exception_ptr failure;
#pragma omp parallel for schedule(static)
    for (std::int64_t i = 0; i < n; ++i) {
      try {
        samples[static_cast<std::size_t>(i)] = make(begin + i);
      } catch (...) {  // out of memory: nothing may leave a parallel region
#pragma omp critical
        failure = std::current_exception();
      }
    }
    if (failure) std::rethrow_exception(failure);
    for (std::int64_t i = 0; i < n; ++i) take(begin + i, samples[static_cast<std::size_t>(i)]);
  }
}

/// The objects of a file's images, as they come.
class ObjectList {
 public:
  /// embeddings: float32 [C,D], or undefined.
  ObjectList(std::vector<std::string> names, Tensor embeddings) {
    all_.names = std::move(names);
    all_.embeddings = std::move(embeddings);
  }

  /// box: x0, y0, x1, y1 in 0..1.
  void add(std::int64_t image, std::int64_t concept_index, const std::array<float, 4>& box) {
    all_.image.push_back(image);
    all_.concept_index.push_back(concept_index);
    boxes_.insert(boxes_.end(), box.begin(), box.end());
  }
  std::int64_t size() const { return static_cast<std::int64_t>(all_.image.size()); }
  Concepts concepts() const {
    Concepts out = all_;
    out.boxes = Tensor::from(boxes_, {size(), 4});
    return out;
  }

 private:
  Concepts all_;
  std::vector<float> boxes_;
};

}  // namespace vitral::data
