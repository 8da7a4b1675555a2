#include "data/dataset_writer.h"

#include <algorithm>
#include <map>
#include <vector>

#include "base/files/output_file.h"
#include "data/dataset_file.h"
#include "data/hdf5/file.h"
#include "data/hdf5/row_writer.h"

namespace vitral::data {
struct DatasetWriter::State {
  State(const std::string& to, std::optional<Size> plain_size)
      : output(to), size(plain_size), file(H5File::create(output.partial())) {}
  ~State() {
    if (finished) return;
    try {
      rows.clear();
      places.clear();
      file.close();
    } catch (const std::exception&) {  // the file is removed in any case
    }
  }

  void add_row(const void* data, std::size_t count, const std::string& name, const Tensor& embedding);
  void write_captions();

  OutputFile output;
  std::optional<Size> size;
  H5File file;
  std::vector<RowWriter> rows;  // images or bytes, then embeddings
  std::int64_t count = 0;
  std::vector<std::uint64_t> offsets{0};  // of encoded images
  std::vector<std::string> names;
  std::vector<std::vector<std::string>> captions;  // of the images, up to the last that has any
  std::int64_t width = 0;
  std::map<Target, RowWriter> places;
  Tensor region_boxes;
  std::optional<Concepts> concepts;
  std::optional<MaskWriter> masks;
  std::int64_t masked = 0;
  std::vector<std::uint64_t> original_sizes;
  bool finished = false;
};

DatasetWriter::DatasetWriter(const std::string& path, std::optional<Size> plain)
    : state_(std::make_unique<State>(path, plain)) {
  State& s = *state_;
  if (plain) {
    VITRAL_CHECK(plain->height > 0 && plain->width > 0, "dataset writer: images of {}x{} pixels have none",
                 plain->width, plain->height);
    constexpr std::int64_t one_image = 1;  // the layout that others rely on
    s.rows.emplace_back(s.file, "/images", Shape{plain->height, plain->width, 3}, DType::uint8, one_image);
  } else {
    constexpr std::int64_t chunk_bytes = 1 << 20;
    s.rows.emplace_back(s.file, "/encoded/bytes", Shape{}, DType::uint8, chunk_bytes);
  }
}

DatasetWriter::~DatasetWriter() = default;
DatasetWriter::DatasetWriter(DatasetWriter&&) noexcept = default;
DatasetWriter& DatasetWriter::operator=(DatasetWriter&&) noexcept = default;

std::int64_t DatasetWriter::size() const { return state_->count; }

void DatasetWriter::State::add_row(const void* data, std::size_t n, const std::string& name,
                                   const Tensor& embedding) {
  VITRAL_CHECK(!finished, "dataset writer: {} is finished", output.path());
  VITRAL_CHECK(count == 0 || name.empty() == names.empty(), "dataset writer: image {} {}; name all or none",
               count, name.empty() ? "has no name but others have" : "has a name but others have none");
  VITRAL_CHECK(count == 0 || embedding.defined() == (width > 0),
               "dataset writer: image {} has {} embedding unlike those before it", count,
               embedding.defined() ? "an" : "no");
  if (embedding.defined()) {
    VITRAL_CHECK(embedding.dtype() == DType::float32 && embedding.rank() == 1 && embedding.numel() > 0 &&
                     (count == 0 || embedding.numel() == width),
                 "dataset writer: embedding {} {} of image {} must be float32 [{}]", embedding.dtype(),
                 embedding.shape(), count, width > 0 ? fmt::format("{}", width) : "D");
    if (count == 0) {
      width = embedding.numel();
      rows.emplace_back(file, "/embeddings", Shape{width}, DType::float32);
    }
    rows[1].add(embedding.raw(), 1);
  }
  rows[0].add(data, n);
  if (!name.empty()) names.push_back(name);
  ++count;
}

void DatasetWriter::add_image(const Tensor& image, const std::string& name, const Tensor& embedding) {
  State& s = *state_;
  VITRAL_CHECK(s.size.has_value(), "dataset writer: {} holds encoded images, use add_encoded",
               s.output.path());
  const Shape expected{s.size->height, s.size->width, 3};
  VITRAL_CHECK(image.defined() && image.dtype() == DType::uint8 && image.shape() == expected,
               "dataset writer: image {} {} must be uint8 {}", image.dtype(), image.shape(), expected);
  s.add_row(image.raw(), 1, name, embedding);
}

void DatasetWriter::add_encoded(std::span<const std::uint8_t> file, const std::string& name,
                                const Tensor& embedding) {
  State& s = *state_;
  VITRAL_CHECK(!s.size.has_value(), "dataset writer: {} holds plain images, use add_image", s.output.path());
  s.add_row(file.data(), file.size(), name, embedding);
  s.offsets.push_back(s.offsets.back() + file.size());
}

void DatasetWriter::add_places(Target kind, const Tensor& embeddings) {
  State& s = *state_;
  auto it = s.places.find(kind);
  if (it == s.places.end())
    it = s.places.emplace(kind, RowWriter(s.file, kind_of(kind).dataset, embeddings.shape(), DType::float32))
             .first;
  it->second.add(embeddings.raw(), 1);
}

void DatasetWriter::set_region_boxes(const Tensor& boxes) { state_->region_boxes = boxes; }

void DatasetWriter::add_captions(const std::vector<std::string>& captions) {
  State& s = *state_;
  if (captions.empty()) return;
  s.captions.resize(static_cast<std::size_t>(s.count));
  s.captions.back() = captions;
}

void DatasetWriter::State::write_captions() {
  std::size_t each = 0;
  for (const auto& own : captions) each = std::max(each, own.size());
  const auto images = static_cast<std::size_t>(count);
  std::vector<std::string> all(images * each);
  for (std::size_t i = 0; i < captions.size(); ++i)
    std::move(captions[i].begin(), captions[i].end(), all.begin() + static_cast<std::ptrdiff_t>(i * each));
  Shape shape{count};
  if (each > 1) shape = shape.append(static_cast<std::int64_t>(each));
  file.write_strings("/captions", all, shape);
}

void DatasetWriter::set_concepts(const Concepts& concepts) { state_->concepts = concepts; }

void DatasetWriter::add_labels(const LabelMap& labels) {
  State& s = *state_;
  if (!s.masks) {
    std::optional<Shape> pixels;
    if (s.size) pixels = Shape{s.size->height, s.size->width};
    s.masks.emplace(s.file, pixels);
  }
  VITRAL_CHECK(++s.masked == s.count, "dataset writer: {} label maps for {} images; add one to each",
               s.masked, s.count);
  s.masks->add(labels);
}

void DatasetWriter::add_original_size(Size size) {
  State& s = *state_;
  s.original_sizes.push_back(static_cast<std::uint64_t>(size.height));
  s.original_sizes.push_back(static_cast<std::uint64_t>(size.width));
}

void DatasetWriter::set_attribute(const std::string& name, const std::string& value) {
  state_->file.set_attribute(name, value);
}

void DatasetWriter::finish() {
  State& s = *state_;
  VITRAL_CHECK(!s.finished, "dataset writer: {} is finished", s.output.path());
  for (auto& rows : s.rows) rows.finish();
  for (auto& [kind, rows] : s.places) rows.finish();
  if (s.region_boxes.defined()) s.file.write("/regions/boxes", s.region_boxes);
  if (!s.size) s.file.write_uint64("/encoded/offsets", s.offsets, {s.count + 1});
  if (!s.names.empty()) s.file.write_strings("/names", s.names);
  if (!s.captions.empty()) s.write_captions();
  if (s.concepts) {
    const auto objects = static_cast<std::int64_t>(s.concepts->image.size());
    s.file.write_strings("/concepts/names", s.concepts->names);
    if (s.concepts->embeddings.defined()) s.file.write("/concepts/embeddings", s.concepts->embeddings);
    s.file.write("/objects/image", Tensor::from(s.concepts->image, {objects}));
    s.file.write("/objects/concept", Tensor::from(s.concepts->concept_index, {objects}));
    s.file.write("/objects/box", s.concepts->boxes);
    const auto flags = [&](const char* name, const std::vector<std::uint8_t>& values) {
      if (!values.empty()) s.file.write(name, Tensor::from(values, {objects}));
    };
    flags("/objects/difficult", s.concepts->difficult);
    flags("/objects/crowd", s.concepts->crowd);
  }
  if (s.masks) s.masks->finish();
  if (!s.original_sizes.empty())
    s.file.write_uint64("/image_sizes", s.original_sizes,
                        {static_cast<std::int64_t>(s.original_sizes.size()) / 2, 2});
  s.file.close();
  s.output.share();
  // What does not fit together is refused here, not by the reader.
  std::vector<Target> targets;
  for (const auto& [kind, rows] : s.places) targets.push_back(kind);
  { const DatasetFile check(s.output.partial(), {}, targets); }
  s.output.commit();
  s.finished = true;
}

}  // namespace vitral::data
