// vitral search: which images are closest to a text or to an image.
#include "infer/search.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <set>

#include "base/files/input_file.h"
#include "base/text.h"
#include "cli/common.h"
#include "cli/print.h"
#include "cli/text.h"
#include "data/hdf5/file.h"
#include "data/image_files.h"
#include "data/images/image.h"
#include "data/images/transform.h"
#include "infer/read_images.h"
#include "infer/show/contact_sheet.h"
#include "infer/stored_embeddings.h"
#include "processes/ahead.h"

namespace vitral::cli {
namespace {

using nlohmann::ordered_json;

struct Arguments {
  EncoderArguments encoder;  // or, as its weights, a file of embeddings
  std::vector<std::string> images;
  TextArguments texts;
  std::vector<std::string> query_images;
  std::string student, root, output;
  std::int64_t k = 10, batch_size = 64;
  infer::SheetOptions sheet;
  ExifArgument exif;
  DatasetArguments dataset;
  bool json = false;
};

// One model's ranking of all images.
struct Ranking {
  const char* who;
  infer::Search search;
};

// What was searched, for names and pictures of what was found.
struct Searched {
  std::vector<std::string> queries;  // as they are shown
  std::vector<Ranking> rankings;
  std::int64_t images = 0;
  std::vector<data::SkippedFile> skipped;
  data::LeftOut left_out;
  std::function<std::vector<std::string>(const std::vector<std::int64_t>&)> names;
  std::function<Tensor(std::int64_t row, const std::string& name)> image;
};

// The query images as a model's embeddings, below those of the texts.
Tensor query_rows(const Arguments& a, const infer::TextEmbeddings* texts, int size, std::int64_t width,
                  const std::function<Tensor(const Tensor& images)>& encode) {
  const std::int64_t from_texts = texts ? texts->size() : 0;
  Tensor out({from_texts + static_cast<std::int64_t>(a.query_images.size()), width});
  if (texts) out.rows(0, from_texts).copy_from(texts->embeddings);
  for (std::size_t i = 0; i < a.query_images.size(); ++i) {
    const Tensor image =
        data::validation_transform(data::read_image(a.query_images[i], {.exif = a.exif.value()}), size);
    const std::int64_t row = from_texts + static_cast<std::int64_t>(i);
    out.rows(row, row + 1).copy_from(encode(image.reshape({1, size, size, 3})));
  }
  return out;
}

Ranking ranking_of(const char* who, const std::string& whose, const Arguments& a,
                   const infer::TextEmbeddings* texts, int size, std::int64_t width,
                   const std::function<Tensor(const Tensor&)>& encode) {
  if (texts) check_width(*texts, width, whose);
  return {who, infer::Search(query_rows(a, texts, size, width, encode), a.k)};
}

// Images that a student, and a teacher, embed now.
Searched search_images(const Arguments& a, const infer::TextEmbeddings* texts) {
  Searched out;
  auto files = std::make_shared<std::vector<data::ImageFile>>(data::list_images(a.images, &out.left_out));
  VITRAL_CHECK(!files->empty(), "{}: no images in there", a.images.front());
  const models::Encoder student = a.encoder.load();
  const auto teacher = a.texts.load_teacher(a.encoder.device, a.encoder.precision);

  std::vector<int> sizes{student.config().image_size};
  out.rankings.push_back(ranking_of("student", a.encoder.weights, a, texts, sizes[0], student.config().width,
                                    [&](const Tensor& images) { return student.embed(images).embeddings; }));
  if (teacher) {
    sizes.push_back(teacher->config().image_size);
    out.rankings.push_back(ranking_of("teacher", a.texts.teacher, a, texts, sizes[1],
                                      teacher->config().embedding,
                                      [&](const Tensor& images) { return teacher->embed(images); }));
  }
  const auto progress = terminal_counter("searched");
  const auto total = static_cast<std::int64_t>(files->size());
  auto file_of = std::make_shared<std::vector<std::size_t>>();  // of each row
  const auto count_of = [&](std::int64_t begin) { return std::min(a.batch_size, total - begin); };
  struct Begun {
    infer::ImageBatch batch;
    std::optional<models::Pending<models::ImageEmbeddings>> student = {};
    std::optional<models::Pending<Tensor>> teacher = {};
  };
  Ahead<Begun> begun(
      0, a.batch_size, total, models::batches_ahead(student.device()), [&](std::int64_t begin) {
        Begun b{infer::read_images(std::span(*files).subspan(static_cast<std::size_t>(begin),
                                                             static_cast<std::size_t>(count_of(begin))),
                                   sizes, a.exif.value())};
        if (b.batch.usable.empty()) return b;
        b.student.emplace(student.begin_embed(b.batch.pixels[0], a.batch_size));
        if (teacher) b.teacher.emplace(teacher->begin_embed(b.batch.pixels[1], a.batch_size));
        return b;
      });
  for (std::int64_t begin = 0; begin < total; begin += a.batch_size) {
    auto [batch, of_student, of_teacher] = begun.take();
    for (std::size_t i = 0; i < batch.problems.size(); ++i)
      if (!batch.problems[i].empty())
        out.skipped.push_back({(*files)[static_cast<std::size_t>(begin) + i].name, batch.problems[i]});
    if (!batch.usable.empty()) {
      const auto first = static_cast<std::int64_t>(file_of->size());
      for (const auto i : batch.usable) file_of->push_back(static_cast<std::size_t>(begin + i));
      out.rankings[0].search.add(of_student->get().embeddings, first);
      if (teacher) out.rankings[1].search.add(of_teacher->get(), first);
    }
    if (progress) progress(begin + count_of(begin), total);
  }
  out.images = static_cast<std::int64_t>(file_of->size());
  report_skipped(out.skipped, total);
  if (out.images == 0) throw_error("{}: none of the {} images can be read", a.images.front(), total);
  out.names = [files, file_of](const std::vector<std::int64_t>& rows) {
    std::vector<std::string> names;
    names.reserve(rows.size());
    for (const auto row : rows) names.push_back((*files)[(*file_of)[static_cast<std::size_t>(row)]].name);
    return names;
  };
  out.image = [files, file_of, exif = a.exif.value()](std::int64_t row, const std::string&) {
    return data::read_image((*files)[(*file_of)[static_cast<std::size_t>(row)]].path, {.exif = exif});
  };
  return out;
}

// The file of a stored name. Error, saying what --root should be: it is not there.
std::string file_of(const infer::StoredEmbeddings& stored, const std::string& root, const std::string& name) {
  namespace fs = std::filesystem;
  std::error_code ignored;
  const fs::path inside = fs::path(root) / name;
  if (fs::exists(inside, ignored)) return inside.string();
  if (!stored.names_are_paths())
    throw_error("{}: is not there; --root must be the folder that /names of {} are relative to",
                inside.string(), stored.path());
  if (fs::exists(name, ignored)) return name;
  throw_error(
      "{}: is neither in {} nor here; /names of {} are paths, --root must be the folder they began in", name,
      root, stored.path());
}

// Embeddings that a file holds, and a teacher's in another one.
Searched search_stored(const Arguments& a, const infer::TextEmbeddings* texts) {
  auto stored = std::make_shared<infer::StoredEmbeddings>(a.encoder.weights, a.dataset.names);
  std::optional<infer::StoredEmbeddings> teacher;
  if (!a.texts.teacher.empty()) {
    VITRAL_CHECK(data::H5File::is_hdf5(a.texts.teacher),
                 "{}: beside stored embeddings the teacher's must be stored, too; give an HDF5 file",
                 a.texts.teacher);
    VITRAL_CHECK(a.query_images.empty(),
                 "--query-image: a teacher's stored embeddings cannot answer it; "
                 "search the images themselves, or leave out --teacher");
    teacher.emplace(a.texts.teacher, a.dataset.names);
    VITRAL_CHECK(teacher->size() == stored->size(),
                 "{}: has {} rows, {} has {}; they must be of the same images", a.texts.teacher,
                 teacher->size(), a.encoder.weights, stored->size());
  }
  VITRAL_CHECK(a.query_images.empty() || !a.student.empty(),
               "--query-image: name the weights that embed it with --student");
  std::optional<models::Encoder> student;
  if (!a.student.empty()) {
    EncoderArguments encoder = a.encoder;
    encoder.weights = a.student;
    student.emplace(encoder.load());
    VITRAL_CHECK(student->config().width == stored->width(),
                 "{}: its embeddings are {} wide, those of {} {}; they must belong together", a.student,
                 student->config().width, a.encoder.weights, stored->width());
  }
  Searched out;
  out.rankings.push_back(ranking_of("stored", a.encoder.weights, a, texts,
                                    student ? student->config().image_size : 0, stored->width(),
                                    [&](const Tensor& images) { return student->embed(images).embeddings; }));
  if (teacher)
    out.rankings.push_back(ranking_of("teacher", a.texts.teacher, a, texts, 0, teacher->width(), {}));
  const auto progress = terminal_counter("searched");
  stored->each_block([&](const Tensor& rows, std::int64_t first) {
    out.rankings[0].search.add(rows, first);
    if (progress) progress(first + rows.dim(0), stored->size());
  });
  if (teacher)
    teacher->each_block(
        [&](const Tensor& rows, std::int64_t first) { out.rankings[1].search.add(rows, first); });
  out.images = stored->size();
  out.names = [stored](const std::vector<std::int64_t>& rows) { return stored->names(rows); };
  if (a.root.empty()) {
    out.image = [stored](std::int64_t row, const std::string&) { return stored->image(row); };
    return out;
  }
  out.image = [stored, root = a.root, exif = a.exif.value(),
               repeated = std::optional<std::set<std::string>>()](std::int64_t,
                                                                  const std::string& name) mutable {
    if (!repeated) repeated = stored->repeated_names();
    if (repeated->contains(name))
      throw_error("{}: several rows of {} have this name; embed the images again", name, stored->path());
    return data::read_image(file_of(*stored, root, name), {.exif = exif});
  };
  return out;
}

struct Found {
  std::int64_t row;
  float score;
  std::string name;
};

using Results = std::vector<std::vector<std::vector<Found>>>;  // [query][ranking]

// Names are looked up for all hits at once: a file gives up the places of its texts only together.
Results results_of(const Searched& searched) {
  Results results(searched.queries.size());
  std::vector<std::int64_t> rows;
  for (std::size_t q = 0; q < results.size(); ++q)
    for (const auto& ranking : searched.rankings) {
      auto& found = results[q].emplace_back();
      for (const auto& hit : ranking.search.hits(static_cast<std::int64_t>(q))) {
        found.push_back({hit.index, hit.score, {}});
        rows.push_back(hit.index);
      }
    }
  auto names = searched.names(rows);
  auto next = names.begin();
  for (auto& query : results)
    for (auto& found : query)
      for (auto& one : found) one.name = std::move(*next++);
  return results;
}

// Names that older versions or other programs have stored.
void report_repeated_names(const Results& results) {
  std::map<std::string, std::int64_t> row_of;
  for (const auto& query : results)
    for (const auto& found : query)
      for (const Found& f : found) {
        const auto [at, added] = row_of.emplace(f.name, f.row);
        if (added || at->second == f.row) continue;
        std::fprintf(stderr, "rows %lld and %lld are both called %s; --json tells such rows apart by index\n",
                     static_cast<long long>(at->second), static_cast<long long>(f.row),
                     one_line(f.name).c_str());
        return;
      }
}

void print_table(const Searched& searched, const Results& results) {
  for (std::size_t q = 0; q < results.size(); ++q) {
    fmt::print("{}{}\n", q > 0 ? "\n" : "", one_line(searched.queries[q]));
    std::size_t lines = 0;
    std::vector<std::size_t> widths;
    for (const auto& found : results[q]) {
      lines = std::max(lines, found.size());
      widths.push_back(8);
      for (const auto& f : found) widths.back() = std::max(widths.back(), one_line(f.name).size());
    }
    std::string head = "  rank";
    for (std::size_t r = 0; r < widths.size(); ++r)
      head +=
          fmt::format("   cosine  {:<{}}", searched.rankings[r].who, r + 1 < widths.size() ? widths[r] : 0);
    fmt::print("{}\n", head);
    for (std::size_t i = 0; i < lines; ++i) {
      std::string line = fmt::format("  {:>4}", i + 1);
      for (std::size_t r = 0; r < widths.size(); ++r)
        if (const auto& found = results[q][r]; i < found.size())
          line += fmt::format("  {:>7.4f}  {:<{}}", found[i].score, one_line(found[i].name),
                              r + 1 < widths.size() ? widths[r] : 0);
      fmt::print("{}\n", line);
    }
  }
}

void print_hits(const Searched& searched, const Results& results, std::size_t from_texts) {
  ordered_json out = {{"images", searched.images},
                      {"without_direction", searched.rankings[0].search.skipped()},
                      {"skipped", json_of(searched.skipped)},
                      {"left_out", json_of(searched.left_out)},
                      {"queries", ordered_json::array()}};
  for (std::size_t q = 0; q < results.size(); ++q) {
    ordered_json query = {{"query", searched.queries[q]}, {"kind", q < from_texts ? "text" : "image"}};
    for (std::size_t r = 0; r < results[q].size(); ++r) {
      ordered_json hits = ordered_json::array();
      for (const auto& f : results[q][r])
        hits.push_back({{"index", f.row}, {"name", f.name}, {"score", f.score}});
      query[r == 0 ? "hits" : "teacher_hits"] = std::move(hits);
    }
    out["queries"].push_back(std::move(query));
  }
  print_json(out);
}

void write_sheet(const Arguments& a, const Searched& searched, const Results& results) {
  std::vector<infer::SheetLine> lines;
  for (std::size_t q = 0; q < results.size(); ++q)
    for (std::size_t r = 0; r < results[q].size(); ++r) {
      const bool several = results[q].size() > 1;
      infer::SheetLine line{several ? fmt::format("{} ({})", searched.queries[q], searched.rankings[r].who)
                                    : searched.queries[q],
                            {}};
      for (const auto& f : results[q][r]) {
        infer::SheetImage cell{{}, fmt::format("{:.3f} {}", f.score, f.name)};
        try {
          cell.image = searched.image(f.row, f.name);
        } catch (const ReadError&) {
          throw;
        } catch (const Error& e) {
          std::fprintf(stderr, "left empty in %s: %s\n", a.output.c_str(), one_line(e.what()).c_str());
        }
        line.images.push_back(std::move(cell));
      }
      lines.push_back(std::move(line));
    }
  data::write_image(a.output, infer::draw_contact_sheet(lines, a.sheet));
}

void run(const Arguments& a) {
  const bool stored = data::H5File::is_hdf5(a.encoder.weights);
  VITRAL_CHECK(a.texts.given() || !a.query_images.empty(),
               "nothing to search for; give --text or --query-image");
  VITRAL_CHECK(stored || !a.images.empty(),
               "{}: is no file of embeddings; as weights of a student it needs IMAGES to search in",
               a.encoder.weights);
  VITRAL_CHECK(!stored || a.images.empty(),
               "{}: holds embeddings, so there is nothing to embed; leave out {}", a.encoder.weights,
               a.images.front());
  VITRAL_CHECK(stored || (a.student.empty() && a.root.empty()),
               "--student and --root belong to stored embeddings, {} are weights", a.encoder.weights);
  if (!a.output.empty()) {
    std::vector<std::string> inputs = a.images;
    for (const auto& file : {a.encoder.weights, a.student, a.texts.teacher}) inputs.push_back(file);
    inputs.insert(inputs.end(), a.query_images.begin(), a.query_images.end());
    for (const auto& file : a.texts.inputs()) inputs.push_back(file);
    check_output(a.output, inputs);
    data::check_image_name(a.output);
    if (stored && a.root.empty() && !infer::StoredEmbeddings(a.encoder.weights, a.dataset.names).has_images())
      throw_error<UsageError>("{}: holds no images for {}; name the folder of its /names with --root",
                              a.encoder.weights, a.output);
  }
  std::optional<infer::TextEmbeddings> texts;
  if (a.texts.given()) texts = a.texts.load(a.encoder.device);
  const infer::TextEmbeddings* given = texts ? &*texts : nullptr;
  Searched searched = stored ? search_stored(a, given) : search_images(a, given);
  if (texts) searched.queries = texts->texts;
  for (const auto& image : a.query_images) searched.queries.push_back(image);

  report_left_out(searched.left_out);
  for (const auto& ranking : searched.rankings)
    if (ranking.search.skipped() > 0)
      std::fprintf(stderr, "left out: %lld rows (%s) that are zero or not finite\n",
                   static_cast<long long>(ranking.search.skipped()), ranking.who);
  const Results results = results_of(searched);
  report_repeated_names(results);
  if (!a.output.empty()) write_sheet(a, searched, results);
  if (a.json)
    print_hits(searched, results, texts ? texts->texts.size() : 0);
  else
    print_table(searched, results);
}

}  // namespace

void add_search(Program& program) {
  auto a = std::make_shared<Arguments>();
  Command command = program.command(
      "search", "finds the images that are closest to texts or to an image",
      "vitral search runs/student photos/ --text 'a dog jumping' --clip clip-vit-base-patch32 -o found.png\n"
      "  vitral search photos.h5 --text 'a dog jumping' --clip clip-vit-base-patch32 -k 5 --json");
  a->encoder.add_to(command);
  command.existing("weights")
      .description("a student's weights; or an HDF5 file with /embeddings (vitral embed, vitral teach)")
      .type_name("WEIGHTS_OR_EMBEDDINGS");
  command.option("inputs", a->images, "with weights: folders and files to search").type_name("IMAGES");
  a->texts.add_to(command,
                  {.teacher = "also a teacher's ranking: its weights; of stored embeddings an HDF5 file "
                              "of the same images"});
  command.option("--query-image", a->query_images, "images like this one").type_name("FILE");
  command.option("--student", a->student, "of stored embeddings: the weights that embed --query-image")
      .type_name("WEIGHTS");
  command.option("-k", a->k, "images to find").shows_default().between(1, 10000);
  command.option("-o,--output", a->output, "contact sheet to write: .png, .jpg or .jpeg");
  command.option("--root", a->root, "of stored embeddings: the folder that /names are relative to")
      .type_name("FOLDER");
  command.option("--cell", a->sheet.cell, "pixels a side of an image in the sheet")
      .shows_default()
      .between(32, 2048);
  command.option("--columns", a->sheet.columns, "images side by side in the sheet")
      .shows_default()
      .between(1, 100);
  command.option("--batch", a->batch_size, "images embedded at once").shows_default().at_least(1);
  a->exif.add_to(command);
  a->dataset.add_to(command);
  command.flag("--json", a->json, "one JSON object");
  command.run([a] { run(*a); });
}

}  // namespace vitral::cli
