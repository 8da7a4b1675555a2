// Targets for places: /regions and /patches of a dataset file.
#include "data/dataset_file.h"

namespace vitral::data {

// [N,P,D] or [N,V,P,D], of P places.
void DatasetFile::check_places(const H5File& file, Target kind) {
  const std::string name = kind_of(kind).dataset;
  const char* p = kind == Target::regions ? "R" : "N'";
  if (!file.has(name) || file.is_group(name))
    throw_error<UsageError>("{}: has no {}; write them with vitral teach {}", path, name,
                            kind == Target::regions ? "--regions G" : "--patches");
  constexpr std::int64_t most = 1 << 20;
  const Shape shape = file.shape(name);
  const auto dtype = file.dtype(name);
  const bool is_float = dtype == DType::float16 || dtype == DType::float32 || dtype == DType::float64;
  if (!is_float || (shape.rank() != 3 && shape.rank() != 4) || shape[1] < 1 || shape.dim(-2) < 1 ||
      shape.dim(-2) > most || shape.back() < 1 || shape.back() > most)
    throw_error<UsageError>("{}: {} is {} {}; float32 or float16 [N,{},D] or [N,V,{},D] is needed", path,
                            name, file.type_text(name), shape, p, p);
  if (shape[0] != size)
    throw_error<UsageError>("{}: {} has {} rows but there are {} images; write one row for each", path, name,
                            shape[0], size);
  if (width > 0 && shape.back() != width)
    throw_error<UsageError>("{}: {} has width {} but the embeddings have {}; use one teacher", path, name,
                            shape.back(), width);
  const std::int64_t own = shape.rank() == 4 ? shape[1] : 0;
  if (!views_known_) {
    views = own;
    if (views > 0) read_view_seeds(file, name, shape);
  }
  views_known_ = true;
  if (own != views)
    throw_error<UsageError>(
        "{}: {} is {}, with {} views, but the other targets have {}; teach all with the same --views", path,
        name, shape, own, views);
  if (kind == Target::regions) read_region_boxes(file, shape.dim(-2));
}

void DatasetFile::read_region_boxes(const H5File& file, std::int64_t count) {
  constexpr const char* name = "/regions/boxes";
  if (!file.has(name) || file.is_group(name))
    throw_error<UsageError>(
        "{}: has no {}, float [{},4]: where the regions lie; write them with vitral teach --regions G", path,
        name, count);
  const auto dtype = file.dtype(name);
  const Shape needed{count, 4}, shape = file.shape(name);
  if ((dtype != DType::float32 && dtype != DType::float64 && dtype != DType::float16) || shape != needed)
    throw_error<UsageError>("{}: {} is {} {}; there are {} regions, so float {} is needed", path, name,
                            file.type_text(name), shape, count, needed);
  region_boxes = file.read(name).cast(DType::float32);
  const float* b = region_boxes.data<float>();
  for (std::int64_t r = 0; r < count; ++r, b += 4)
    if (!(b[0] >= 0 && b[0] < b[2] && b[2] <= 1 && b[1] >= 0 && b[1] < b[3] && b[3] <= 1))
      throw_error<UsageError>("{}: {} row {} is ({}, {}, {}, {}); x0 < x1 and y0 < y1 in 0..1 are needed",
                              path, name, r, b[0], b[1], b[2], b[3]);
}

const RowReader& DatasetFile::rows_of(Target kind) const {
  const auto& rows = kind == Target::image ? embeddings : kind == Target::regions ? regions : patches;
  VITRAL_CHECK(rows.has_value(), "{}: {} are not read", path, kind_of(kind).dataset);
  return *rows;
}

Shape DatasetFile::target_shape(Target kind) const {
  const Shape& shape = rows_of(kind).shape();
  return kind == Target::image ? Shape{shape.back()} : Shape{shape.dim(-2), shape.back()};
}

void DatasetFile::read_target(Target kind, std::int64_t i, std::int64_t v, float* to) const {
  const std::int64_t count = target_shape(kind).numel();
  rows_of(kind).read_part(i, v * count, count, to);
}

std::vector<std::int64_t> only_concepts(const Concepts& concepts, std::int64_t images) {
  std::vector<std::int64_t> out(static_cast<std::size_t>(images), -1), objects(out.size(), 0);
  for (std::size_t m = 0; m < concepts.image.size(); ++m) {
    const auto i = static_cast<std::size_t>(concepts.image[m]);
    out[i] = ++objects[i] == 1 ? concepts.concept_index[m] : -1;
  }
  return out;
}

}  // namespace vitral::data
