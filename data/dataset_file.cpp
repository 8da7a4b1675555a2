#include "data/dataset_file.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/text.h"
#include "data/captions.h"
#include "data/dataset_hints.h"

namespace vitral::data {
namespace {

constexpr std::int64_t max_pixels = std::int64_t{1} << 28;  // of one image

bool is_float(const std::optional<DType>& dtype) {
  return dtype == DType::float16 || dtype == DType::float32 || dtype == DType::float64;
}

std::vector<std::int64_t> read_indices(const H5File& file, const std::string& name, std::int64_t end,
                                       const char* of) {
  const auto dtype = file.dtype(name);
  if (file.shape(name).rank() != 1 || (dtype != DType::int64 && dtype != DType::uint8))
    throw_error<UsageError>("{}: {} must be integers [M]; it holds {} {}", file.path(), name,
                            file.type_text(name), file.shape(name));
  const Tensor values = file.read(name).cast(DType::int64);
  const auto* p = values.data<std::int64_t>();
  for (std::int64_t i = 0; i < values.numel(); ++i)
    if (p[i] < 0 || p[i] >= end)
      throw_error<UsageError>("{}: {} row {} is {}, but there are {} {}", file.path(), name, i, p[i], end,
                              of);
  return {p, p + values.numel()};
}

void require_finite(const H5File& file, const std::string& name, const Tensor& values) {
  const float* p = values.data<float>();
  for (std::int64_t i = 0; i < values.numel(); ++i)
    if (!std::isfinite(p[i]))
      throw_error<UsageError>("{}: {} row {} holds a value that is not finite", file.path(), name,
                              i / values.dim(1));
}

}  // namespace

DatasetFile::DatasetFile(const std::string& path_, const DatasetNames& names_,
                         const std::vector<Target>& targets)
    : path(path_),
      images_name(names_.images.empty() ? "" : absolute(names_.images)),
      embeddings_name(names_.embeddings.empty() ? "/embeddings" : absolute(names_.embeddings)) {
  auto file = std::make_shared<const H5File>(H5File::open(path));
  auto bytes = std::make_shared<const InputFile>(path);
  // First what is quickly seen to be wrong, then the index of every row.
  find_images(*file);
  const bool of_files = images_name == "/encoded" || file->holds_files(images_name);
  if (of_files) {
    encoded.emplace(file, bytes, images_name);
    size = encoded->size();
  } else {
    check_images(*file);
    size = file->shape(images_name)[0];
  }
  const bool has_embeddings = file->has(embeddings_name);
  if (embeddings_name == "/embeddings") teacher = file->attribute("teacher");
  stored = file->attribute("stored");
  transform = file->attribute("transform");
  if (const auto text = file->attribute("view_size")) {
    const auto [end, why] = std::from_chars(text->data(), text->data() + text->size(), view_size);
    if (why != std::errc{} || end != text->data() + text->size() || view_size < 1)
      throw_error<UsageError>("{}: attribute view_size must be a number of pixels", path);
  }
  if (const auto text = file->attribute("exif")) {
    if (*text != name(Exif::apply) && *text != name(Exif::ignore))
      throw_error<UsageError>("{}: attribute exif must be apply or ignore", path);
    exif = exif_of(*text);
  } else if (has_embeddings) {
    exif = Exif::ignore;
  }
  if (has_embeddings) check_embeddings(*file);
  for (const Target kind : targets) {
    if (kind != Target::image)
      check_places(*file, kind);
    else if (!has_embeddings)
      require_embeddings();
  }
  read_names(*file, *bytes);
  check_captions(*file);
  read_concepts(*file, *bytes);
  read_original_sizes(*file);
  if (!of_files) plain.emplace(file, bytes, images_name);
  if (file->has("/masks")) {
    std::optional<Shape> pixels;
    if (plain) pixels = Shape{plain->shape()[1], plain->shape()[2]};
    masks.emplace(file, bytes, size, static_cast<std::int64_t>(concepts->names.size()), pixels);
  }
  if (has_embeddings) embeddings.emplace(file, bytes, embeddings_name);
  for (const Target kind : targets) {
    if (kind == Target::regions) regions.emplace(file, bytes, kind_of(kind).dataset);
    if (kind == Target::patches) patches.emplace(file, bytes, kind_of(kind).dataset);
  }
}

void DatasetFile::find_images(const H5File& file) {
  if (!images_name.empty()) {
    if (!file.has(images_name))
      throw_error<UsageError>("{}: has no {}{}", path, shown(images_name), images_hint(file));
    return;
  }
  const bool has_images = file.has("/images"), has_encoded = file.has("/encoded");
  if (has_images && has_encoded)
    throw_error<UsageError>("{}: has both /images and /encoded; keep one of them, or name it with --images",
                            path);
  images_name = has_images ? "/images" : "/encoded";
  if (has_images || has_encoded) return;
  const std::string hint = images_hint(file);
  throw_error<UsageError>("{}: has neither /images nor /encoded{}", path,
                          hint.empty() ? ", it is not a dataset; make one with vitral pack" : hint);
}

void DatasetFile::check_images(const H5File& file) const {
  const std::string name = shown(images_name);
  if (file.is_group(images_name)) {
    const std::string hint = images_hint(file);
    throw_error<UsageError>("{}: {} is a group{}", path, name,
                            hint.empty() ? "; one dataset, uint8 [N,H,W,3], is needed" : hint);
  }
  const Shape shape = file.shape(images_name);
  if (file.dtype(images_name) != DType::uint8)
    throw_error<UsageError>("{}: {} holds {} {}; uint8 [N,H,W,3] is needed", path, name,
                            file.type_text(images_name), shape);
  if (shape.rank() != 4 || shape[3] != 3)
    throw_error<UsageError>("{}: {} is {}; uint8 [N,H,W,3] is needed{}", path, name, shape, axes_hint(shape));
  if (shape[1] < 1 || shape[2] < 1 || shape[1] > max_pixels || shape[2] > max_pixels / shape[1])
    throw_error<UsageError>("{}: {} is {}; an image must have 1 to 2^28 pixels", path, name, shape);
}

void DatasetFile::check_embeddings(const H5File& file) {
  const std::string name = shown(embeddings_name);
  if (file.is_group(embeddings_name)) {
    const std::string hint = embeddings_hint(file, size);
    throw_error<UsageError>("{}: {} is a group{}", path, name,
                            hint.empty() ? "; one dataset, float32 [N,D], is needed" : hint);
  }
  const Shape shape = file.shape(embeddings_name);
  const std::string type = file.type_text(embeddings_name);
  if (!is_float(file.dtype(embeddings_name)))
    throw_error<UsageError>(
        "{}: {} holds {} {}; float32 or float16 is needed{}", path, name, type, shape,
        type == "opaque values of 2 bytes" ? ": ml_dtypes' bfloat16 is stored so, x.astype('float32')" : "");
  if ((shape.rank() != 2 && shape.rank() != 3) || shape.back() < 1 || shape.back() > 1 << 20 || shape[1] < 1)
    throw_error<UsageError>("{}: {} is {}; [N,D] or [N,V,D] is needed", path, name, shape);
  if (shape[0] != size)
    throw_error<UsageError>("{}: {} has {} rows but {} has {}; write one row for each image", path, name,
                            shape[0], shown(images_name), size);
  width = shape.back();
  views_known_ = true;
  const bool has_seeds = file.has("/view_seeds");
  // [N,1,D] without seeds is [N,D] whose axis was not squeezed.
  views = shape.rank() == 3 && (has_seeds || shape[1] > 1) ? shape[1] : 0;
  if (views > 0) return read_view_seeds(file, name, shape);
  if (has_seeds && embeddings_name == "/embeddings")
    throw_error<UsageError>("{}: /view_seeds needs views, but /embeddings is {}; write [N,V,D]", path, shape);
}

void DatasetFile::read_view_seeds(const H5File& file, const std::string& name, const Shape& shape) {
  if (!file.has("/view_seeds"))
    throw_error<UsageError>("{}: {} has {} views of each image but there is no /view_seeds to replay them",
                            path, name, views);
  const Shape expected{size, views};
  if (file.shape("/view_seeds") != expected)
    throw_error<UsageError>("{}: /view_seeds is {} but {} is {}; {} is needed", path,
                            file.shape("/view_seeds"), name, shape, expected);
  view_seeds = file.read_uint64("/view_seeds");
}

void DatasetFile::read_names(const H5File& file, const InputFile& bytes) {
  if (!file.has("/names")) return;
  const Shape shape = file.shape("/names");
  if (shape.rank() != 1 || shape[0] != size)
    throw_error<UsageError>("{}: /names is {} but there are {} images; write one name for each", path, shape,
                            size);
  names = read_text_rows(file, bytes, "/names");
}

void DatasetFile::check_captions(const H5File& file) {
  if (!file.has("/captions")) return;
  const H5Layout layout = file.layout("/captions");
  const int rank = layout.shape.rank();
  if (!layout.text || rank < 1 || rank > 2)
    throw_error<UsageError>("{}: /captions holds {} {}; strings [N] or [N,C] are needed", path,
                            file.type_text("/captions"), layout.shape);
  if (layout.shape[0] != size)
    throw_error<UsageError>(
        "{}: /captions is {} but there are {} images; write one row for each, \"\" being no caption", path,
        layout.shape, size);
  captions_each = layout.shape.product(1, rank);
}

void DatasetFile::open_captions() const {
  if (captions_each == 0) return;
  std::call_once(captions_asked_, [&] {
    captions_.emplace(H5File::open(path), std::make_shared<const InputFile>(path), "/captions");
  });
}

std::vector<std::string> DatasetFile::captions(std::int64_t i) const {
  if (captions_each == 0) return {};
  open_captions();
  auto texts = captions_->read(i);
  std::erase_if(texts, [](const std::string& text) { return text.find_first_not_of(blanks) == text.npos; });
  return texts;
}

Tensor DatasetFile::read_concept_embeddings(const H5File& file, std::int64_t count) const {
  const Shape shape = file.shape("/concepts/embeddings");
  if (!is_float(file.dtype("/concepts/embeddings")) || shape.rank() != 2 || shape[0] != count || shape[1] < 1)
    throw_error<UsageError>(
        "{}: /concepts/embeddings is {} {}; there are {} names, so float [{},D] is needed", path,
        file.type_text("/concepts/embeddings"), shape, count, count);
  if (width > 0 && shape[1] != width)
    throw_error<UsageError>("{}: /concepts/embeddings is {} but /embeddings has width {}", path, shape,
                            width);
  Tensor values = file.read("/concepts/embeddings").cast(DType::float32);
  require_finite(file, "/concepts/embeddings", values);
  return values;
}

void DatasetFile::require_embeddings() const {
  if (embeddings) return;
  const std::string hint = embeddings_hint(H5File::open(path), size);
  throw_error<UsageError>("{}: has no {}{}", path, shown(embeddings_name),
                          hint.empty() ? "; write them with vitral teach" : hint);
}

std::vector<std::uint8_t> DatasetFile::read_flags(const H5File& file, const char* name,
                                                  std::size_t count) const {
  if (!file.has(name)) return {};
  const auto values = read_indices(file, name, 2, "values, 0 and 1");
  if (values.size() != count)
    throw_error<UsageError>("{}: {} is [{}] but there are {} objects; write 0 or 1 for each", path, name,
                            values.size(), count);
  return {values.begin(), values.end()};
}

void DatasetFile::read_original_sizes(const H5File& file) {
  if (!file.has("/image_sizes")) return;
  const Shape expected{size, 2};
  if (file.shape("/image_sizes") != expected)
    throw_error<UsageError>(
        "{}: /image_sizes is {} but there are {} images; height and width of each, {}, are needed", path,
        file.shape("/image_sizes"), size, expected);
  const auto values = file.read_uint64("/image_sizes");
  for (std::size_t i = 0; i + 1 < values.size(); i += 2) {
    if (values[i] < 1 || values[i + 1] < 1 || values[i] > max_pixels || values[i + 1] > max_pixels)
      throw_error<UsageError>("{}: /image_sizes row {} is {} x {}; an image has pixels", path, i / 2,
                              values[i], values[i + 1]);
    original_sizes.push_back(
        {static_cast<std::int64_t>(values[i]), static_cast<std::int64_t>(values[i + 1])});
  }
}

void DatasetFile::read_concepts(const H5File& file, const InputFile& bytes) {
  if (!file.has("/concepts") && !file.has("/objects") && !file.has("/masks")) return;
  if (!file.has("/concepts/names"))
    throw_error<UsageError>("{}: labelled regions need /concepts/names, which is missing", path);
  Concepts c;
  c.names = read_text_rows(file, bytes, "/concepts/names");
  const auto count = static_cast<std::int64_t>(c.names.size());
  if (file.has("/concepts/embeddings")) c.embeddings = read_concept_embeddings(file, count);
  c.boxes = Tensor({0, 4});
  if (file.has("/objects")) {
    for (const char* needed : {"/objects/image", "/objects/concept", "/objects/box"})
      if (!file.has(needed))
        throw_error<UsageError>("{}: labelled regions need {}, which is missing", path, needed);
    c.image = read_indices(file, "/objects/image", size, "images");
    c.concept_index = read_indices(file, "/objects/concept", count, "concepts");
    const Shape boxes = file.shape("/objects/box");
    if (c.image.size() != c.concept_index.size() || boxes.rank() != 2 ||
        boxes[0] != static_cast<std::int64_t>(c.image.size()) || boxes[1] != 4 ||
        !is_float(file.dtype("/objects/box")))
      throw_error<UsageError>(
          "{}: /objects/image [{}], /objects/concept [{}] and /objects/box {} {} do not fit; [M], "
          "[M] and float [M,4] are needed",
          path, c.image.size(), c.concept_index.size(), file.type_text("/objects/box"), boxes);
    c.boxes = file.read("/objects/box").cast(DType::float32);
    const float* b = c.boxes.data<float>();
    for (std::int64_t m = 0; m < boxes[0]; ++m, b += 4)
      if (!(b[0] >= 0 && b[0] <= b[2] && b[2] <= 1 && b[1] >= 0 && b[1] <= b[3] && b[3] <= 1))
        throw_error<UsageError>(
            "{}: /objects/box row {} is ({}, {}, {}, {}); x0 <= x1 and y0 <= y1 in 0..1 are needed", path, m,
            b[0], b[1], b[2], b[3]);
    c.difficult = read_flags(file, "/objects/difficult", c.image.size());
    c.crowd = read_flags(file, "/objects/crowd", c.image.size());
  }
  concepts = std::move(c);
}

std::string DatasetFile::description() const {
  std::string text;
  const auto line = [&]<class... Args>(fmt::format_string<Args...> format, Args&&... args) {
    text += fmt::format(format, std::forward<Args>(args)...) + "\n";
  };
  if (plain)
    line("images: {} of {}x{} pixels, {}", size, plain->shape()[2], plain->shape()[1], plain->description());
  else
    line("images: {} encoded, {}", size, encoded->description());
  if (embeddings)
    line("embeddings: {} {}, {}", embeddings->stored(), embeddings->shape(), embeddings->description());
  else
    line("embeddings: none");
  const H5File file = H5File::open(path);  // also what is there and not read
  for (const TargetKind& t : target_kinds)
    if (t.kind != Target::image && file.has(t.dataset) && !file.is_group(t.dataset))
      line("{}: {} {}", t.group + 1, file.type_text(t.dataset), file.shape(t.dataset));
  if (views > 0)
    line("views: {} of each image{}, transform {}", views,
         view_size > 0 ? fmt::format(", {} pixels a side", view_size) : "",
         one_line(transform.value_or("unknown")));
  if (stored) line("stored: {}", one_line(*stored));
  if (teacher) line("teacher: {}", one_line(*teacher));
  line("names: {}", names.empty() ? "no" : "yes");
  if (captions_each > 0) line("captions: up to {} of each image", captions_each);
  if (concepts)
    line("concepts: {}{}, {} labelled objects", concepts->names.size(),
         concepts->embeddings.defined() ? "" : " names alone", concepts->image.size());
  const auto marked = [](const std::vector<std::uint8_t>& flags) {
    return std::count(flags.begin(), flags.end(), 1);
  };
  if (concepts && !(concepts->difficult.empty() && concepts->crowd.empty()))
    line("objects: {} difficult, {} crowds", marked(concepts->difficult), marked(concepts->crowd));
  if (masks) line("masks: {}", masks->description());
  return text;
}

}  // namespace vitral::data
