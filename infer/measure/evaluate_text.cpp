#include "infer/measure/evaluate_text.h"

#include <algorithm>
#include <cstring>

#include "base/text.h"

namespace vitral::infer {
namespace {

// What one model has collected.
class Collector {
 public:
  Collector(const ImageModel& model, const TextTask& task) : model_(model), task_(task) {
    if (task.classes) zero_shot_.emplace(task.class_embeddings);
  }

  void prepare(const Tensor& image) { prepared_.push_back(model_.prepare(image)); }

  /// Embeds what was prepared: `images` are their numbers, the first `captioned` of those that have a caption
  /// are kept for retrieval.
  void embed(const std::vector<std::int64_t>& images, const std::vector<std::size_t>& kept) {
    const Tensor embeddings = model_.embed(stacked());
    prepared_.clear();
    VITRAL_CHECK(embeddings.shape() == (Shape{static_cast<std::int64_t>(images.size()), model_.width}),
                 "{}: gave embeddings {} of {} images", model_.name, embeddings.shape(), images.size());
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
  Tensor stacked() const {
    const Tensor& first = prepared_.front();
    Tensor out({static_cast<std::int64_t>(prepared_.size()), first.dim(0), first.dim(1), 3}, DType::uint8);
    for (std::size_t i = 0; i < prepared_.size(); ++i) {
      VITRAL_CHECK(prepared_[i].shape() == first.shape(), "{}: images of {} and {} in one batch", model_.name,
                   first.shape(), prepared_[i].shape());
      std::memcpy(out.data<std::uint8_t>() + i * first.bytes(), prepared_[i].raw(), first.bytes());
    }
    return out;
  }

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
    Answers texts, images;
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
    out.image_to_text = retrieval(image_rows, text_rows, texts);
    out.text_to_image = retrieval(text_rows, image_rows, images);
  }

  const ImageModel& model_;
  const TextTask& task_;
  std::optional<ZeroShot> zero_shot_;
  std::vector<Tensor> prepared_;
  std::vector<float> rows_;  // [captioned images,D]
};

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
  std::vector<Collector> collectors;
  collectors.reserve(models.size());
  for (const ImageModel& m : models) collectors.emplace_back(m, task);

  TextResult out;
  std::vector<std::int64_t> batch, captioned;
  std::vector<std::size_t> kept;
  const auto embed = [&] {
    if (batch.empty()) return;
    for (Collector& c : collectors) c.embed(batch, kept);
    batch.clear();
    kept.clear();
  };
  const auto progress = [&] {
    if (options.progress) options.progress(out.images + out.skipped + out.unlabelled, source.size());
  };
  data::for_each_image(
      source,
      [&](std::int64_t i, const Tensor& image) {
        const auto at = static_cast<std::size_t>(i);
        const bool has_class = task.classes && task.classes->label[at] >= 0;
        const bool has_caption = task.captions && !task.captions->of_image[at].empty() &&
                                 static_cast<std::int64_t>(captioned.size()) < options.candidates;
        if (!has_class && !has_caption) {
          ++out.unlabelled;
          return;
        }
        if (has_caption) {
          captioned.push_back(i);
          kept.push_back(batch.size());
        }
        batch.push_back(i);
        for (Collector& c : collectors) c.prepare(image);
        ++out.images;
        if (static_cast<std::int64_t>(batch.size()) < options.batch_size) return;
        embed();
        progress();
      },
      [&](const data::SkippedFile& file) {
        ++out.skipped;
        if (options.skipped) options.skipped(fmt::format("skipped {}: {}", one_line(file.name), file.reason));
      });
  embed();
  progress();
  if (out.images == 0)
    throw_error("{}: none of its images with a class or a caption can be read", source.path());
  for (const Collector& c : collectors) out.models.push_back(c.result(captioned));
  return out;
}

}  // namespace vitral::infer
