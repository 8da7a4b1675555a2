#include "infer/stored_embeddings.h"

#include <algorithm>
#include <future>
#include <numeric>
#include <optional>

#include "base/files/input_file.h"
#include "base/text.h"
#include "data/dataset_hints.h"
#include "data/hdf5/file.h"
#include "data/hdf5/heap_rows.h"
#include "data/hdf5/rows.h"

namespace vitral::infer {
namespace {

constexpr std::int64_t block_numbers = 1 << 22;  // 16 MB of float32
constexpr std::int64_t max_numbers = 1 << 24;    // in a row

}  // namespace

struct StoredEmbeddings::State {
  std::string path;
  std::shared_ptr<const data::H5File> file;
  std::shared_ptr<const InputFile> bytes;
  std::optional<data::RowReader> rows;  // [N,D] or [N,V,D]
  std::int64_t views = 0, width = 0;    // views 0: [N,D]
  std::vector<std::uint64_t> seeds;     // [N,V], or none
  std::optional<data::Dataset> dataset;
  bool names = false;

  State(const std::string& where, const data::DatasetNames& called)
      : path(where),
        file(std::make_shared<data::H5File>(data::H5File::open(where))),
        bytes(std::make_shared<InputFile>(where)) {
    const std::string name = called.embeddings.empty() ? "/embeddings" : data::absolute(called.embeddings);
    if (!file->has(name) || file->is_group(name)) {
      const std::string hint = data::embeddings_hint(*file, -1);
      throw_error<UsageError>(
          "{}: has no {}{}", path, shown(name),
          hint.empty() ? "; give a file of `vitral embed`, or a dataset after `vitral teach`" : hint);
    }
    const Shape shape = file->shape(name);
    const auto dtype = file->dtype(name);
    const bool is_float = dtype == DType::float16 || dtype == DType::float32 || dtype == DType::float64;
    const bool fits = (shape.rank() == 2 || shape.rank() == 3) && shape[1] >= 1 && shape.back() >= 1 &&
                      shape[1] <= max_numbers && shape.back() <= max_numbers &&
                      (shape.rank() == 2 || shape[1] * shape[2] <= max_numbers);
    if (!is_float || !fits)
      throw_error<UsageError>("{}: {} is {} {}; float [N,D] or [N,V,D] is needed", path, shown(name),
                              file->type_text(name), shape);
    rows.emplace(file, bytes, name);
    width = shape.back();
    views = shape.rank() == 3 ? shape[1] : 0;
    if (views > 0 && file->has("/view_seeds") && file->shape("/view_seeds") == Shape{shape[0], views})
      seeds = file->read_uint64("/view_seeds");
    if (!called.images.empty() || file->has("/images") || file->has("/encoded"))
      dataset = data::Dataset::open(path, called);
    names = !dataset && file->has("/names") && file->shape("/names") == Shape{shape[0]};
  }

  std::int64_t view_of(std::int64_t row) const {
    if (seeds.empty()) return 0;
    const auto first = seeds.begin() + row * views;
    const auto plain = std::find(first, first + views, 0U);
    return plain == first + views ? 0 : plain - first;
  }

  Tensor read(std::int64_t first, std::int64_t count) const {
    if (views == 0) {
      Tensor out({count, width});
      rows->read_rows(first, count, out.data<float>());
      return out;
    }
    Tensor all({count, views, width}), out({count, width});
    rows->read_rows(first, count, all.data<float>());
    for (std::int64_t i = 0; i < count; ++i)
      std::copy_n(all.data<float>() + (i * views + view_of(first + i)) * width, width,
                  out.data<float>() + i * width);
    return out;
  }
};

StoredEmbeddings::StoredEmbeddings(const std::string& path, const data::DatasetNames& names)
    : state_(std::make_unique<const State>(path, names)) {}
StoredEmbeddings::~StoredEmbeddings() = default;
StoredEmbeddings::StoredEmbeddings(StoredEmbeddings&&) noexcept = default;
StoredEmbeddings& StoredEmbeddings::operator=(StoredEmbeddings&&) noexcept = default;

const std::string& StoredEmbeddings::path() const { return state_->path; }
std::int64_t StoredEmbeddings::size() const { return state_->rows->size(); }
std::int64_t StoredEmbeddings::width() const { return state_->width; }
bool StoredEmbeddings::has_images() const { return state_->dataset.has_value(); }

void StoredEmbeddings::each_block(
    const std::function<void(const Tensor& rows, std::int64_t first)>& use) const {
  const std::int64_t row_numbers = state_->width * std::max<std::int64_t>(state_->views, 1);
  const std::int64_t block = std::max<std::int64_t>(1, block_numbers / row_numbers);
  const auto read = [this, block](std::int64_t first) {
    return state_->read(first, std::min(block, size() - first));
  };
  std::future<Tensor> next;
  if (size() > 0) next = std::async(std::launch::async, read, 0);
  for (std::int64_t first = 0; first < size(); first += block) {
    const Tensor rows = next.get();
    if (first + block < size()) next = std::async(std::launch::async, read, first + block);
    use(rows, first);
  }
}

std::vector<std::string> StoredEmbeddings::names(const std::vector<std::int64_t>& rows) const {
  if (state_->names) return data::read_text_rows(*state_->file, *state_->bytes, "/names", rows);
  std::vector<std::string> out;
  out.reserve(rows.size());
  for (const std::int64_t row : rows)
    out.push_back(state_->dataset && state_->dataset->has_name(row) ? state_->dataset->name(row)
                                                                    : fmt::format("image {}", row));
  return out;
}

std::set<std::string> StoredEmbeddings::repeated_names() const {
  std::vector<std::int64_t> rows(static_cast<std::size_t>(size()));
  std::iota(rows.begin(), rows.end(), std::int64_t{0});
  std::vector<std::string> all = names(rows);
  std::sort(all.begin(), all.end());
  std::set<std::string> out;
  for (auto at = all.begin(); (at = std::adjacent_find(at, all.end())) != all.end(); ++at) out.insert(*at);
  return out;
}

bool StoredEmbeddings::names_are_paths() const { return state_->file->attribute("names") == "paths"; }

Tensor StoredEmbeddings::image(std::int64_t row) const {
  VITRAL_CHECK(has_images(), "{}: holds embeddings and no images", path());
  return state_->dataset->image(row);
}

}  // namespace vitral::infer
