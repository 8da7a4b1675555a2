#include "infer/measure/evaluate_text.h"

#include <algorithm>
#include <cstring>
#include <exception>
#include <span>
#include <utility>

#include "base/hash.h"
#include "base/read_error.h"
#include "base/text.h"
#include "processes/share.h"

namespace vitral::infer {
namespace {

// What one model has collected.
class Collector {
 public:
  Collector(const ImageModel& model, const TextTask& task) : model_(model), task_(task) {
    if (task.classes) zero_shot_.emplace(task.class_embeddings);
  }

  std::int64_t width() const { return model_.width; }

  /// Rows of `embeddings` [n,D]: `images` are their numbers, those at `kept` go into retrieval.
  void add(const Tensor& embeddings, const std::vector<std::int64_t>& images,
           const std::vector<std::size_t>& kept) {
    if (zero_shot_) classify(embeddings, images);
    for (const std::size_t k : kept) {
      const float* row = embeddings.data<float>() + static_cast<std::int64_t>(k) * model_.width;
      rows_.insert(rows_.end(), row, row + model_.width);
    }
  }

  TextEvaluation result(const std::vector<std::int64_t>& captioned) const {
    TextEvaluation out{.model = model_.name, .zero_shot = {}, .image_to_text = {}, .text_to_image = {}};
    if (zero_shot_) out.zero_shot = zero_shot_->result();
    if (task_.captions && !captioned.empty()) retrieve(captioned, out);
    return out;
  }

 private:
  void classify(const Tensor& embeddings, const std::vector<std::int64_t>& images) {
    // Runs of images that have a class.
    const auto label = [&](std::size_t k) {
      return task_.classes->label[static_cast<std::size_t>(images[k])];
    };
    for (std::size_t begin = 0; begin < images.size(); ++begin) {
      if (label(begin) < 0) continue;
      std::vector<std::int64_t> labels;
      std::size_t end = begin;
      for (; end < images.size() && label(end) >= 0; ++end) labels.push_back(label(end));
      zero_shot_->add(embeddings.rows(static_cast<std::int64_t>(begin), static_cast<std::int64_t>(end)),
                      labels);
      begin = end;
    }
  }

  void retrieve(const std::vector<std::int64_t>& captioned, TextEvaluation& out) const {
    // The captions of these images, numbered as they come.
    std::vector<std::int64_t> number(task_.captions->texts.size(), -1), used;
    models::Answers texts, images;
    for (std::size_t i = 0; i < captioned.size(); ++i) {
      texts.group.push_back(static_cast<std::int64_t>(i));
      auto& of_image = texts.members.emplace_back();
      for (const std::int64_t t : task_.captions->of_image[static_cast<std::size_t>(captioned[i])]) {
        std::int64_t& n = number[static_cast<std::size_t>(t)];
        if (n < 0) {
          n = static_cast<std::int64_t>(used.size());
          used.push_back(t);
          images.group.push_back(n);
          images.members.emplace_back();
        }
        of_image.push_back(n);
        images.members[static_cast<std::size_t>(n)].push_back(static_cast<std::int64_t>(i));
      }
    }
    const std::int64_t width = model_.width;
    Tensor text_rows({static_cast<std::int64_t>(used.size()), width});
    for (std::size_t t = 0; t < used.size(); ++t)
      text_rows.rows(static_cast<std::int64_t>(t), static_cast<std::int64_t>(t) + 1)
          .copy_from(task_.caption_embeddings.rows(used[t], used[t] + 1));
    const Tensor image_rows = Tensor::from(rows_, {static_cast<std::int64_t>(captioned.size()), width});
    out.image_to_text = models::retrieval(image_rows, text_rows, texts);
    out.text_to_image = models::retrieval(text_rows, image_rows, images);
  }

  const ImageModel& model_;
  const TextTask& task_;
  std::optional<models::ZeroShot> zero_shot_;
  std::vector<float> rows_;  // [captioned images,D]
};

std::int64_t count_of(const auto& values) { return static_cast<std::int64_t>(values.size()); }

// The images of one block, prepared for each model.
struct Prepared {
  std::vector<std::string> problems;          // of each image: why it does not decode, or ""
  std::vector<std::vector<Tensor>> pictures;  // [models] of each that does
};

Prepared prepare(const std::vector<ImageModel>& models, const data::ImageSource& source,
                 std::span<const std::int64_t> images) {
  Prepared out{std::vector<std::string>(images.size()), {}};
  std::vector<std::vector<Tensor>> of_image(images.size());
  std::exception_ptr failure;
#pragma omp parallel for schedule(dynamic)
  for (std::size_t k = 0; k < images.size(); ++k) {
    try {
      const Tensor image = source.image(images[k]);
      for (const ImageModel& m : models) of_image[k].push_back(m.prepare(image));
    } catch (const ReadError&) {
#pragma omp critical
      failure = std::current_exception();
    } catch (const Error& e) {
      out.problems[k] = one_line(e.what());
    }
  }
  if (failure) std::rethrow_exception(failure);
  for (std::size_t m = 0; m < models.size(); ++m) {
    auto& pictures = out.pictures.emplace_back();
    for (std::size_t k = 0; k < images.size(); ++k)
      if (out.problems[k].empty()) pictures.push_back(std::move(of_image[k][m]));
  }
  return out;
}

// uint8 [n,S,S,3] of n of one size.
Tensor stacked(const std::vector<Tensor>& pictures, const std::string& model) {
  const Tensor& first = pictures.front();
  Tensor out({static_cast<std::int64_t>(pictures.size()), first.dim(0), first.dim(1), 3}, DType::uint8);
  for (std::size_t i = 0; i < pictures.size(); ++i) {
    VITRAL_CHECK(pictures[i].shape() == first.shape(), "{}: images of {} and {} in one batch", model,
                 first.shape(), pictures[i].shape());
    std::memcpy(out.data<std::uint8_t>() + i * first.bytes(), pictures[i].raw(), first.bytes());
  }
  return out;
}

std::uint64_t digest_of_names(const data::ImageSource& source) {
  Hash hash;
  for (std::int64_t i = 0; i < source.size(); ++i) {
    const std::string name = source.name(i);
    hash.add(name.c_str(), name.size() + 1);  // with the zero, so that two names are not one
  }
  return hash.value();
}

void check(const std::vector<ImageModel>& models, std::int64_t images, const TextTask& task) {
  VITRAL_CHECK(!models.empty() && (task.classes || task.captions), "evaluate_text: nothing to measure");
  const auto fits = [&](const char* what, const Tensor& embeddings, std::size_t count, std::size_t of) {
    VITRAL_CHECK(static_cast<std::int64_t>(of) == images, "evaluate_text: {} of {} images for {}", what, of,
                 images);
    VITRAL_CHECK(embeddings.defined() && embeddings.rank() == 2 &&
                     embeddings.dim(0) == static_cast<std::int64_t>(count),
                 "evaluate_text: {} {} for {} texts", what, embeddings.shape(), count);
    for (const ImageModel& m : models)
      VITRAL_CHECK(embeddings.dim(1) == m.width,
                   "the text embeddings are {} wide, those of the {} {}; they must share a teacher",
                   embeddings.dim(1), m.name, m.width);
  };
  if (task.classes)
    fits("classes", task.class_embeddings, task.classes->names.size(), task.classes->label.size());
  if (task.captions)
    fits("captions", task.caption_embeddings, task.captions->texts.size(), task.captions->of_image.size());
}

}  // namespace

ImageModel model_of(const models::Encoder& student) {
  return {"student", student.config().width,
          [&student](const Tensor& image) {
            return data::validation_transform(image, student.config().image_size);
          },
          [&student](const Tensor& images) { return student.embed(images, images.dim(0)).embeddings; }};
}

ImageModel model_of(const models::ImageEncoder& teacher, data::PlainTransform transform) {
  return {"teacher", teacher.config().embedding,
          [&teacher, transform](const Tensor& image) { return teacher.prepare(image, transform); },
          [&teacher](const Tensor& images) { return teacher.embed(images, images.dim(0)); }};
}

TextResult evaluate_text(const std::vector<ImageModel>& models, const data::ImageSource& source,
                         const TextTask& task, const EvaluateTextOptions& options) {
  check(models, source.size(), task);
  VITRAL_CHECK(options.batch_size > 0, "evaluate_text: a batch of {} images", options.batch_size);
  Group& group = *options.group;
  if (!group.is_one())
    require_alike(group,
                  {{"program", program_identity()},
                   {"images", fmt::format("{} images, {:016x}", source.size(), digest_of_names(source))},
                   {"models and texts", options.identity}});
  std::vector<Collector> collectors;
  collectors.reserve(models.size());
  for (const ImageModel& m : models) collectors.emplace_back(m, task);

  const auto has_class = [&](std::int64_t i) {
    return task.classes && task.classes->label[static_cast<std::size_t>(i)] >= 0;
  };
  std::vector<std::int64_t> labelled;  // have a class or a caption
  for (std::int64_t i = 0; i < source.size(); ++i)
    if (has_class(i) || (task.captions && !task.captions->of_image[static_cast<std::size_t>(i)].empty()))
      labelled.push_back(i);
  TextResult out;
  out.unlabelled = source.size() - static_cast<std::int64_t>(labelled.size());
  std::vector<std::int64_t> captioned;  // those that go into retrieval
  const auto is_candidate = [&](std::int64_t i) {
    return task.captions && !task.captions->of_image[static_cast<std::size_t>(i)].empty() &&
           static_cast<std::int64_t>(captioned.size()) < options.candidates;
  };
  const auto embed = [&](std::int64_t block) {
    // Those that may count, as far as this process knows when it begins.
    std::vector<std::int64_t> images;
    const std::int64_t begin = block * options.batch_size;
    for (std::int64_t k = begin; k < std::min(begin + options.batch_size, count_of(labelled)); ++k)
      if (const std::int64_t i = labelled[static_cast<std::size_t>(k)]; has_class(i) || is_candidate(i))
        images.push_back(i);
    const Prepared prepared = prepare(models, source, images);
    Parcel made;
    put(made, images);
    put(made, prepared.problems);
    for (std::size_t m = 0; m < models.size(); ++m) {
      const auto& pictures = prepared.pictures[m];
      if (pictures.empty()) continue;
      const Tensor e = models[m].embed(stacked(pictures, models[m].name));
      VITRAL_CHECK(e.shape() == (Shape{count_of(pictures), models[m].width}),
                   "{}: gave embeddings {} of {} images", models[m].name, e.shape(), pictures.size());
      made.write(e.raw(), e.bytes());
    }
    return made;
  };
  const auto add = [&](std::int64_t block, Parcel& made) {
    const auto images = get<std::vector<std::int64_t>>(made);
    const auto problems = get<std::vector<std::string>>(made);
    std::vector<std::int64_t> embedded;  // a row each
    std::vector<std::size_t> kept;       // rows for retrieval
    std::int64_t counted = 0;
    for (std::size_t k = 0; k < images.size(); ++k) {
      const std::int64_t i = images[k];
      const bool decodes = problems[k].empty();
      if (decodes) embedded.push_back(i);
      const bool has_caption = is_candidate(i);
      if (!has_class(i) && !has_caption) continue;  // others before it were enough
      ++counted;
      if (!decodes) {
        ++out.skipped;
        if (options.skipped)
          options.skipped(fmt::format("skipped {}: {}", one_line(source.name(i)), problems[k]));
        continue;
      }
      ++out.images;
      if (!has_caption) continue;
      captioned.push_back(i);
      kept.push_back(embedded.size() - 1);
    }
    const std::int64_t begin = block * options.batch_size;
    out.unlabelled += std::min(options.batch_size, count_of(labelled) - begin) - counted;
    if (!embedded.empty())
      for (Collector& c : collectors) {
        Tensor e({count_of(embedded), c.width()});
        made.read(e.raw(), e.bytes());
        c.add(e, embedded, kept);
      }
    if (options.progress) options.progress(out.images + out.skipped + out.unlabelled, source.size());
  };
  share_blocks(group, (count_of(labelled) + options.batch_size - 1) / options.batch_size, embed, add);
  if (out.images == 0)
    throw_error("{}: none of its images with a class or a caption can be read", source.path());
  for (const Collector& c : collectors) out.models.push_back(c.result(captioned));
  return out;
}

}  // namespace vitral::infer
