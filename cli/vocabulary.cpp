// vitral vocabulary: learns the byte pairs of CLIP's tokeniser from texts (data/text/learn_byte_pairs.h).
#include "data/text/vocabulary.h"

#include <memory>

#include "base/files/atomic.h"
#include "base/files/text_file.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "cli/print.h"
#include "data/hdf5/file.h"
#include "data/text/learn_byte_pairs.h"

namespace vitral::cli {
namespace {

struct Arguments {
  std::vector<std::string> captions;
  std::string folder;
  std::int64_t size = 2000;
  DatasetArguments dataset;
  bool force = false, json = false;
};

// Calls use(text) for each text of a file.
template <class Use>
void for_each_text(const std::string& path, const data::DatasetNames& names, const Use& use) {
  if (!data::H5File::is_hdf5(path)) {
    for (const TextLine& line : read_lines(path)) use(line.text);
    return;
  }
  const data::Dataset dataset = data::Dataset::open(path, names);
  VITRAL_CHECK(dataset.has_captions(),
               "{}: has no /captions; pack it with --captions, or give a file with a text a line", path);
  for (std::int64_t i = 0; i < dataset.size(); ++i)
    for (const std::string& caption : dataset.captions(i)) use(caption);
}

void run(const Arguments& a) {
  check_output_folder(a.folder, data::clip_tokenizer_files, a.force);
  data::WordCounts words;
  std::int64_t texts = 0;
  for (const std::string& path : a.captions)
    for_each_text(path, a.dataset.names, [&](const std::string& text) {
      data::count_words(text, words);
      ++texts;
    });
  VITRAL_CHECK(!words.empty(), "{}: no text in it has a word; there is nothing to learn from", a.captions[0]);
  const data::BytePairs pairs = data::learn_byte_pairs(words, a.size - data::smallest_vocabulary);
  AtomicDirectory folder = output_folder(a.folder);
  data::write_clip_tokenizer(folder.temporary(), pairs);
  folder.commit();

  const std::int64_t size = data::vocabulary_size(pairs);
  std::int64_t all_words = 0;
  for (const auto& [word, count] : words) all_words += count;
  if (size < a.size)
    std::fprintf(stderr, "%s: %lld tokens, not %lld: no other pair occurs twice in these texts\n",
                 a.folder.c_str(), static_cast<long long>(size), static_cast<long long>(a.size));
  if (a.json)
    return print_json(nlohmann::json{{"folder", a.folder},
                                     {"tokens", size},
                                     {"merges", size - data::smallest_vocabulary},
                                     {"texts", texts},
                                     {"words", all_words},
                                     {"different_words", words.size()}});
  fmt::print("{}: {} tokens from {} texts with {} words, {} of them different\n", a.folder, size, texts,
             all_words, words.size());
}

}  // namespace

void add_vocabulary(Program& program) {
  auto a = std::make_shared<Arguments>();
  Command command = program.command("vocabulary", "learns the vocabulary of CLIP's tokeniser from texts",
                                    "vitral vocabulary data/scenes/train.h5 -o data/scenes/vocabulary");
  command
      .option("captions", a->captions,
              "datasets with /captions, and files with a text a line (also .gz; - is standard input)")
      .required()
      .type_name("CAPTIONS");
  command
      .option("-o,--output", a->folder,
              "folder for vocab.json, merges.txt and what transformers' CLIPTokenizer reads beside them")
      .required()
      .type_name("DIR");
  command
      .option("--size", a->size,
              "tokens: 512 of bytes, one for each merge, and the start and end of a text; less where no "
              "pair is left that occurs twice")
      .shows_default()
      .at_least(data::smallest_vocabulary);
  a->dataset.add_images_to(command);
  command.flag("--force", a->force, "replace the vocabulary that DIR holds");
  command.flag("--json", a->json, "a summary as one JSON object");
  command.run([a] { run(*a); });
}

}  // namespace vitral::cli
