#include "infer/show/report.h"

#include <algorithm>
#include <numeric>
#include <set>

#include "base/files/input_file.h"
#include "base/text.h"
#include "data/images/transform.h"
#include "infer/measure/concept_texts.h"
#include "infer/measure/patch_scores.h"
#include "infer/measure/pointing.h"
#include "infer/measure/segmentation.h"

namespace vitral::infer {
namespace {

constexpr std::size_t max_concepts = 64;  // of a dataset, without being asked for

std::string with_commas(std::int64_t number) {
  std::string text = fmt::format("{}", number);
  for (auto at = static_cast<std::int64_t>(text.size()) - 3; at > 0; at -= 3)
    text.insert(static_cast<std::size_t>(at), 1, ',');
  return text;
}

std::vector<std::int64_t> numbers_of(const data::ImageSource& source, const ReportRequest& request) {
  for (const std::int64_t i : request.images)
    VITRAL_CHECK(i >= 0 && i < source.size(), "{}: has no image {}, they are numbered 0 to {}", source.path(),
                 i, source.size() - 1);
  if (!request.images.empty()) return request.images;
  std::vector<std::int64_t> all(static_cast<std::size_t>(source.size()));
  std::iota(all.begin(), all.end(), 0);
  return all;
}

ReportImage look_at(const models::Encoder& student, const models::ImageEncoder* teacher,
                    const Tensor& picture, const std::string& name) {
  const models::StudentConfig& c = student.config();
  ReportImage out;
  out.name = name;
  out.image = data::validation_transform(picture, c.image_size);
  const models::ImageEmbeddings e = student.embed(out.image.reshape({1, c.image_size, c.image_size, 3}));
  out.embedding = e.embeddings.reshape({c.width});
  out.weights = e.probs.reshape({c.tokens()});
  out.patches = e.patches.reshape({c.tokens(), c.width});
  if (teacher) {
    const int size = teacher->config().image_size;
    const Tensor seen = data::validation_transform(picture, size).reshape({1, size, size, 3});
    out.teacher = teacher->dense(seen, models::DenseTokens::naclip, c.grid()).reshape({c.tokens(), c.width});
  }
  return out;
}

// The images of the report, and which of the source each is.
std::vector<std::int64_t> add_images(const models::Encoder& student, const data::ImageSource& source,
                                     const ReportRequest& request, Report& report) {
  std::vector<std::int64_t> shown;
  const auto numbers = numbers_of(source, request);
  const auto wanted = request.images.empty() ? std::min(request.count, source.size())
                                             : static_cast<std::int64_t>(numbers.size());
  for (const std::int64_t i : numbers) {
    if (static_cast<std::int64_t>(shown.size()) == wanted) break;
    Tensor picture;
    try {
      picture = source.image(i);
    } catch (const UsageError&) {
      throw;
    } catch (const ReadError&) {
      throw;
    } catch (const Error& e) {
      if (request.skipped)
        request.skipped(fmt::format("skipped {}: {}", one_line(source.name(i)), one_line(e.what())));
    }
    if (picture.defined()) {
      report.images.push_back(look_at(student, request.teacher, picture, source.name(i)));
      shown.push_back(i);
    }
    if (request.progress) request.progress(static_cast<std::int64_t>(shown.size()), wanted);
  }
  if (shown.empty()) throw_error("{}: none of its images can be read", source.path());
  report.facts.emplace_back("Images",
                            fmt::format("{} of {} from {}", shown.size(), source.size(), source.path()));
  return shown;
}

void add_pointing_game(const data::Concepts& concepts, const std::vector<LabelledObject>& objects,
                       Report& report) {
  PointingGame game(concepts.embeddings, report.rows, report.columns);
  for (const LabelledObject& o : objects) {
    LabelledObject here = o;
    here.image = 0;
    const Tensor& patches = report.images[static_cast<std::size_t>(o.image)].patches;
    game.add(patches.reshape({1, patches.dim(0), patches.dim(1)}), std::span(&here, 1));
  }
  const PointingResult& r = game.result();
  report.facts.emplace_back("Pointing game, these images", fmt::format("{:.3f} of {} objects (chance {:.3f})",
                                                                       r.accuracy(), r.objects, r.chance()));
}

// Of the images that have a mask.
void add_segmentation(const data::Dataset& dataset, const std::vector<std::int64_t>& shown,
                      const data::Concepts& concepts, Report& report) {
  const TextScorer scorer(concepts.embeddings);
  const Segmentation segmentation(scorer.texts(), one_text_each(concepts.names).concept_of, {});
  SegmentationResult r = segmentation.nothing(true);
  for (std::size_t k = 0; k < shown.size(); ++k) {
    const LabelMap labels = dataset.labels(shown[k]);
    if (labels.empty()) continue;
    const Tensor& patches = report.images[k].patches;
    Tensor cosines({1, scorer.texts(), patches.dim(0)});
    scorer.score(patches.data<float>(), patches.dim(0), cosines.data<float>());
    r.add(segmentation.measure({cosines, report.rows, report.columns}, labels), 1);
  }
  if (r.pixels > 0)
    report.facts.emplace_back(
        "Mean IoU on masks, these images",
        fmt::format("{:.3f} of {} pixels (chance {:.3f})", r.mean_iou(), r.pixels, r.chance()));
}

void add_concepts(const data::Concepts& concepts, const std::vector<LabelledObject>& objects,
                  const std::string& path, Report& report) {
  std::set<std::int64_t> chosen;
  for (std::size_t c = 0; concepts.names.size() <= max_concepts && c < concepts.names.size(); ++c)
    chosen.insert(static_cast<std::int64_t>(c));
  if (chosen.empty())
    for (const LabelledObject& o : objects) chosen.insert(o.concept_index);
  if (chosen.empty()) return;
  report.prompt_embeddings = Tensor({static_cast<std::int64_t>(chosen.size()), report.width});
  for (const std::int64_t c : chosen) {
    const auto row = static_cast<std::int64_t>(report.prompts.size());
    report.prompt_embeddings.rows(row, row + 1).copy_from(concepts.embeddings.rows(c, c + 1));
    report.prompts.push_back(concepts.names[static_cast<std::size_t>(c)]);
  }
  report.facts.emplace_back("Prompts", chosen.size() == concepts.names.size()
                                           ? fmt::format("{} concepts of {}", chosen.size(), path)
                                           : fmt::format("{} of the {} concepts of {}", chosen.size(),
                                                         concepts.names.size(), path));
}

// Boxes of objects that are called as a prompt is.
void add_boxes(const data::Concepts& concepts, const std::vector<LabelledObject>& objects, Report& report) {
  for (const LabelledObject& o : objects) {
    const std::string& name = concepts.names[static_cast<std::size_t>(o.concept_index)];
    const auto prompt = std::find(report.prompts.begin(), report.prompts.end(), name);
    if (prompt != report.prompts.end())
      report.images[static_cast<std::size_t>(o.image)].objects.push_back(
          {prompt - report.prompts.begin(), o.box});
  }
}

void add_run(const std::string& folder, Report& report) {
  report.run = read_run(folder);
  const RunRecord& run = *report.run;
  const double steps = std::max(run.train.step.empty() ? 0 : run.train.step.back(),
                                run.val.step.empty() ? 0 : run.val.step.back());
  report.facts.emplace_back("Training",
                            fmt::format("{} steps{}", with_commas(static_cast<std::int64_t>(steps)),
                                        run.began.empty() ? "" : fmt::format(", begun on {}", run.began)));
  if (const auto best = run.best())
    report.facts.emplace_back("Best validation",
                              fmt::format("loss {:.4f}, cosine {:.4f} at step {:.0f}", run.val.loss[*best],
                                          run.val.cosine[*best], run.val.step[*best]));
}

}  // namespace

Report make_report(const models::Encoder& student, const data::ImageSource& source,
                   const ReportRequest& request) {
  const models::StudentConfig& c = student.config();
  Report report;
  report.title = request.weights;
  report.rows = report.columns = c.grid();
  report.width = c.width;
  std::string architecture =
      fmt::format("{} parameters: {} layers, {} heads, width {}, {} attention; {}x{} patches of {} pixels",
                  with_commas(student.student().parameter_count()), c.layers, c.heads, c.width,
                  to_texts(c).at("model.attention"), c.grid(), c.grid(), c.patch_size);
  for (const auto& field : models::student_fields())
    if (field.added && is_told(field, c)) architecture += fmt::format("; {} {}", field.name, field.write(c));
  report.facts.emplace_back("Student", architecture);
  if (!request.run.empty()) add_run(request.run, report);
  if (request.teacher) {
    request.teacher->require_dense();
    VITRAL_CHECK(request.teacher->config().embedding == c.width,
                 "{}: its embeddings are {} wide, the teacher's {}; name the teacher that it learned from",
                 request.weights, c.width, request.teacher->config().embedding);
    report.facts.emplace_back("Teacher", request.teacher->description());
  }
  VITRAL_CHECK(request.prompts.empty() ||
                   (request.prompt_embeddings.defined() && request.prompt_embeddings.rank() == 2 &&
                    request.prompt_embeddings.dim(1) == c.width),
               "{}: its embeddings are {} wide, those of the prompts {}; they must share a teacher",
               request.weights, c.width, request.prompt_embeddings.shape());
  auto concepts = source.dataset() ? source.dataset()->concepts() : std::nullopt;
  if (concepts && !concepts->names.empty() && request.embed_concepts)
    concepts->embeddings = request.embed_concepts(concepts->names);
  VITRAL_CHECK(!concepts || !concepts->embeddings.defined() || concepts->embeddings.dim(1) == c.width,
               "{}: embeddings of its concepts are {} wide, the student's {}; they must share a teacher",
               source.path(), concepts->embeddings.dim(1), c.width);

  const auto shown = add_images(student, source, request, report);
  report.prompts = request.prompts;
  report.prompt_embeddings = request.prompt_embeddings;
  if (!request.prompts.empty()) report.facts.emplace_back("Prompts", request.prompts_from);
  if (concepts) {
    const auto objects = objects_of(objects_by_image(*concepts), shown);
    const bool embedded = concepts->embeddings.defined();
    if (request.prompts.empty() && embedded) add_concepts(*concepts, objects, source.path(), report);
    add_boxes(*concepts, objects, report);
    if (!objects.empty() && embedded) add_pointing_game(*concepts, objects, report);
    if (embedded && source.dataset()->has_masks())
      add_segmentation(*source.dataset(), shown, *concepts, report);
  }
  return report;
}

}  // namespace vitral::infer
