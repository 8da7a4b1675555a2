// Operation by operation over the whole image, or over the part that is kept, in loops that the compiler
// vectorises.
#include "tensor/ops/augment.h"

#include <algorithm>
#include <cstring>

#include "base/clones.h"
#include "base/exact_float.h"
#include "tensor/cpu/parallel.h"
#include "tensor/cpu/scratch.h"
#include "tensor/ops/pixel_formulas.h"

namespace vitral {
namespace {

using Byte = std::uint8_t;

// --- loops over pixels ---

// At most 2^24 pixels: 32 bits hold their sum.
VITRAL_CLONES std::uint32_t sum_of_luma(const Byte* rgb, std::int64_t pixels) {
  std::uint32_t sum = 0;
  for (std::int64_t i = 0; i < pixels; ++i) sum += static_cast<std::uint32_t>(pixel::luma(rgb + 3 * i));
  return sum;
}

VITRAL_CLONES void blend_with_luma(Byte* __restrict to, const Byte* __restrict from, std::int64_t pixels,
                                   float factor) {
  for (std::int64_t i = 0; i < pixels; ++i) {
    const int gray = pixel::luma(from + 3 * i);
    for (int c = 0; c < 3; ++c) to[3 * i + c] = pixel::blend(gray, from[3 * i + c], factor);
  }
}

VITRAL_CLONES void blend_with_constant(Byte* __restrict to, const Byte* __restrict from, std::int64_t count,
                                       int base, float factor) {
  for (std::int64_t i = 0; i < count; ++i) to[i] = pixel::blend(base, from[i], factor);
}

VITRAL_CLONES void keep_bits(Byte* __restrict to, const Byte* __restrict from, std::int64_t count,
                             Byte mask) {
  for (std::int64_t i = 0; i < count; ++i) to[i] = from[i] & mask;
}

// sums += weight * row
VITRAL_CLONES void add_scaled(float* __restrict sums, const float* __restrict row, std::size_t count,
                              float weight) {
  for (std::size_t i = 0; i < count; ++i) sums[i] = pixel::add_product(sums[i], weight, row[i]);
}

VITRAL_CLONES void round_to_bytes(Byte* __restrict to, const float* __restrict from, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) to[i] = pixel::round_to_byte(from[i]);
}

// --- operations ---

struct Image {
  const Byte* pixels;
  std::int64_t height, width;

  std::int64_t count() const { return height * width; }
  const Byte* row(std::int64_t y) const { return pixels + y * width * 3; }
};

struct Blur {
  const float* weights;
  int count;
};

int mean_luma(const Image& from) {
  constexpr std::int64_t block = 1 << 20;
  std::uint64_t sum = 0;
  for (std::int64_t begin = 0; begin < from.count(); begin += block)
    sum += sum_of_luma(from.pixels + 3 * begin, std::min(block, from.count() - begin));
  return pixel::mean_luma(sum, from.count());
}

void blend(Byte* to, const Image& from, Augmentation::Base base, float factor) {
  if (base == Augmentation::luma) return blend_with_luma(to, from.pixels, from.count(), factor);
  const int constant = base == Augmentation::mean ? mean_luma(from) : 0;
  blend_with_constant(to, from.pixels, from.count() * 3, constant, factor);
}

void mirror(Byte* to, const Image& from) {
  for (std::int64_t y = 0; y < from.height; ++y) {
    const Byte* row = from.row(y);
    Byte* end = to + (y + 1) * from.width * 3;
    for (std::int64_t x = 0; x < from.width; ++x) {
      end -= 3;
      for (int c = 0; c < 3; ++c) end[c] = row[3 * x + c];
    }
  }
}

void autocontrast(Byte* to, const Image& from) {
  const std::int64_t count = from.count() * 3;
  std::array<int, 3> low{255, 255, 255}, high{};
  for (std::int64_t i = 0; i < count; i += 3)
    for (std::size_t c = 0; c < 3; ++c) {
      const int value = from.pixels[i + static_cast<std::int64_t>(c)];
      low[c] = std::min(low[c], value);
      high[c] = std::max(high[c], value);
    }
  std::array<std::array<Byte, 256>, 3> tables;
  for (std::size_t c = 0; c < 3; ++c)
    for (int v = 0; v < 256; ++v) tables[c][static_cast<std::size_t>(v)] = pixel::stretch(v, low[c], high[c]);
  for (std::int64_t i = 0; i < count; i += 3)
    for (std::size_t c = 0; c < 3; ++c)
      to[i + static_cast<std::int64_t>(c)] = tables[c][from.pixels[i + static_cast<std::int64_t>(c)]];
}

void blur(Byte* to, const Image& from, const Blur& with) {
  const int height = static_cast<int>(from.height), width = static_cast<int>(from.width);
  const int border = with.count / 2;
  const auto taps = static_cast<std::size_t>(with.count);
  const std::size_t bytes = static_cast<std::size_t>(width) * 3;
  const std::size_t padding = static_cast<std::size_t>(border) * 3;

  // Rows blurred along x, as many as one output row needs: row y lies in slot y % count. A mirrored row is
  // never farther away than the one it stands for, so it is among them.
  float* padded = cpu_kernels::scratch<float>(2 * padding + (taps + 2) * bytes);
  float* sums = padded + 2 * padding + bytes;
  float* ring = sums + bytes;
  const auto slot = [&](int y) { return ring + static_cast<std::size_t>(y % with.count) * bytes; };
  const auto blur_along_x = [&](int y) {
    const Byte* row = from.row(y);
    std::copy_n(row, bytes, padded + padding);
    for (int x = 1; x <= border; ++x)
      for (int c = 0; c < 3; ++c) {
        padded[(border - x) * 3 + c] = row[pixel::reflected(-x, width) * 3 + c];
        padded[(border + width - 1 + x) * 3 + c] = row[pixel::reflected(width - 1 + x, width) * 3 + c];
      }
    std::fill_n(slot(y), bytes, 0.0F);
    for (std::size_t k = 0; k < taps; ++k) add_scaled(slot(y), padded + 3 * k, bytes, with.weights[k]);
  };

  for (int y = 0; y < std::min(border, height); ++y) blur_along_x(y);
  for (int y = 0; y < height; ++y) {
    if (y + border < height) blur_along_x(y + border);
    std::fill_n(sums, bytes, 0.0F);
    for (int k = 0; k < with.count; ++k)
      add_scaled(sums, slot(pixel::reflected(y + k - border, height)), bytes, with.weights[k]);
    round_to_bytes(to + static_cast<std::size_t>(y) * bytes, sums, bytes);
  }
}

struct Part {
  std::int64_t top, left, height, width;
};

void cut(Byte* to, const Image& from, const Part& part) {
  for (std::int64_t y = 0; y < part.height; ++y)
    std::memcpy(to + y * part.width * 3, from.row(part.top + y) + part.left * 3,
                static_cast<std::size_t>(part.width) * 3);
}

// --- an image ---

enum class Kind : std::uint8_t { blend, mirror, blur, posterize, autocontrast, cut };

struct Operation {
  Kind kind;
  std::size_t number = 0;  // of a blend
};

/// What a record lists, in order.
class Operations {
 public:
  Operations(const Augmentation& a, const Image& image, Part part) : a_(a), part_(part) {
    for (std::size_t k = 0; k < a.bases.size(); ++k)
      if (a.bases[k] != Augmentation::none) add({Kind::blend, k});
    if (a.mirrored) add({Kind::mirror});
    if (a.blurred) add({Kind::blur});
    if (a.mask != 0xFF) add({Kind::posterize});
    if (a.autocontrast) add({Kind::autocontrast});
    if (part.height < image.height || part.width < image.width) insert_cut(image);
  }

  void run(Byte* result, Image image, const Blur& with) const {
    const auto bytes = static_cast<std::size_t>(image.count()) * 3;
    if (size_ == 0) {
      std::memcpy(result, image.pixels, bytes);
      return;
    }
    Byte* first = cpu_kernels::scratch<Byte>(2 * bytes);
    const std::array<Byte*, 2> turns{first, first + bytes};
    for (std::size_t k = 0; k < size_; ++k) {
      Byte* to = k + 1 == size_ ? result : turns[k % 2];
      apply(list_[k], to, image, with);
      image.pixels = to;
      if (list_[k].kind == Kind::cut) image.height = part_.height, image.width = part_.width;
    }
  }

 private:
  void add(Operation operation) { list_[size_++] = operation; }

  // Whether a pixel's new value depends on its old one alone.
  bool is_pixelwise(const Operation& operation) const {
    return operation.kind == Kind::posterize ||
           (operation.kind == Kind::blend && a_.bases[operation.number] != Augmentation::mean);
  }

  // The cut comes last. What changes each pixel by itself is done after it: to the same pixels, fewer of
  // them; and mirroring, when what becomes the same was cut.
  void insert_cut(const Image& image) {
    std::size_t at = size_;
    while (at > 0 && (is_pixelwise(list_[at - 1]) || list_[at - 1].kind == Kind::mirror)) {
      if (list_[--at].kind == Kind::mirror) part_.left = image.width - part_.width - part_.left;
    }
    std::copy_backward(list_.begin() + static_cast<std::ptrdiff_t>(at),
                       list_.begin() + static_cast<std::ptrdiff_t>(size_),
                       list_.begin() + static_cast<std::ptrdiff_t>(size_) + 1);
    list_[at] = {Kind::cut};
    ++size_;
  }

  void apply(const Operation& operation, Byte* to, const Image& from, const Blur& with) const {
    switch (operation.kind) {
      case Kind::blend:
        return blend(to, from, a_.bases[operation.number], a_.factors[operation.number]);
      case Kind::mirror:
        return mirror(to, from);
      case Kind::blur:
        return blur(to, from, with);
      case Kind::posterize:
        return keep_bits(to, from.pixels, from.count() * 3, a_.mask);
      case Kind::autocontrast:
        return autocontrast(to, from);
      case Kind::cut:
        return cut(to, from, part_);
    }
  }

  const Augmentation& a_;
  Part part_;
  std::array<Operation, 9> list_{};
  std::size_t size_ = 0;
};

void augment(Tensor& to, const Tensor& images, const Tensor& records) {
  check_augment_shapes(to, images, records);
  const std::int64_t height = images.dim(1), width = images.dim(2), weights = augmentation_weights(records);
  const auto record = [&](std::int64_t b) { return records.data<Byte>() + b * records.dim(1); };
  const auto read = [&](std::int64_t b) {
    Augmentation a;
    std::memcpy(&a, record(b), sizeof a);
    return a;
  };
  for (std::int64_t b = 0; b < images.dim(0); ++b) {
    const Augmentation a = read(b);
    VITRAL_CHECK(a.top >= 0 && a.left >= 0 && a.top <= height - to.dim(1) && a.left <= width - to.dim(2),
                 "augment: {} x {} pixels at row {} and column {} leave images of {} x {}", to.dim(2),
                 to.dim(1), a.top, a.left, width, height);
    VITRAL_CHECK(!a.blurred || (weights > 0 && weights / 2 < std::min(height, width)),
                 "augment: a blur of {} pixels does not fit images of {} x {}", weights, width, height);
  }
  cpu_kernels::parallel_chunks(images.dim(0), 1, [&](std::int64_t b, std::int64_t, std::int64_t) {
    const Augmentation a = read(b);
    const Image image{images.data<Byte>() + b * height * width * 3, height, width};
    const auto* taps = reinterpret_cast<const float*>(record(b) + augmentation_bytes(0));
    Operations(a, image, {a.top, a.left, to.dim(1), to.dim(2)})
        .run(to.data<Byte>() + b * to.dim(1) * to.dim(2) * 3, image, {taps, static_cast<int>(weights)});
  });
}

const bool implemented = kernel::augment.implement(Device::Kind::cpu, augment);

}  // namespace
}  // namespace vitral
