// Lesson 8: CLIP. Byte pairs and InfoNCE in plain loops beside vitral's, the gradients of a batch in pieces,
// and a small CLIP that learns from scenes and their captions: cosines before and after (08_cosines.png).
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>

#include "data/benchmarks/scenes.h"
#include "data/images/image.h"
#include "data/images/resize.h"
#include "data/text/clip_tokenizer.h"
#include "data/text/learn_byte_pairs.h"
#include "data/text/vocabulary.h"
#include "infer/show/canvas.h"
#include "models/clip/contrastive.h"
#include "nn/init.h"
#include "tensor/storage.h"
#include "train/adamw.h"
#include "train/micro_batches.h"
#include "train/schedule.h"

using namespace vitral;
using Numbers = std::vector<double>;
using Token = std::int32_t;
using Pair = std::pair<Token, Token>;

namespace {

bool all_hold = true;
void expect(bool holds, const std::string& what) {
  if (!holds) fmt::print("does not hold: {}\n", what);
  all_hold = all_hold && holds;
}

double largest_difference(const Numbers& a, const Numbers& b) {
  double largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::abs(a[i] - b.at(i)));
  return largest;
}

// --- byte pairs ---

struct Word {
  std::vector<Token> tokens;
  std::int64_t count;  // how often it occurs
};

// Wherever the two tokens of `pair` stand together, they become `both`.
void merge(Word& word, const Pair& pair, Token both) {
  std::vector<Token> merged;
  for (std::size_t i = 0; i < word.tokens.size(); ++i) {
    const bool here = i + 1 < word.tokens.size() && Pair(word.tokens[i], word.tokens[i + 1]) == pair;
    merged.push_back(here ? both : word.tokens[i]);
    if (here) ++i;
  }
  word.tokens = merged;
}

data::BytePairs naive_byte_pairs(const data::WordCounts& counts, std::int64_t merges) {
  data::BytePairs pairs;  // the tokens: at first the bytes alone
  std::vector<Word> words;
  for (const auto& [word, count] : counts) words.push_back({pairs.encode(word), count});
  for (; merges > 0; --merges) {
    std::map<Pair, std::int64_t> together;
    for (const auto& [tokens, count] : words)
      for (std::size_t i = 0; i + 1 < tokens.size(); ++i) together[{tokens[i], tokens[i + 1]}] += count;
    // The first of the largest, in a map, which is sorted: of equal counts the smaller numbers win.
    const auto best = std::max_element(together.begin(), together.end(),
                                       [](const auto& a, const auto& b) { return a.second < b.second; });
    if (best == together.end() || best->second < 2) break;
    for (Word& word : words) merge(word, best->first, static_cast<Token>(pairs.size()));
    pairs.add_merge(pairs.token(best->first.first), pairs.token(best->first.second));
  }
  return pairs;
}

// --- InfoNCE ---

struct InfoNce {
  double loss = 0, dlog_scale = 0;
  Numbers du, dv;
};

// u, v [B,E]: embeddings of B images and of their captions, of length 1.
InfoNce naive_info_nce(const Numbers& u, const Numbers& v, std::size_t b, double log_scale) {
  const std::size_t e = u.size() / b;
  const double most = std::log(100), t = std::exp(std::min(log_scale, most));
  Numbers logits(b * b), row(b), column(b);
  for (std::size_t i = 0; i < b; ++i)
    for (std::size_t j = 0; j < b; ++j) {
      double& l = logits[i * b + j];
      for (std::size_t d = 0; d < e; ++d) l += t * u[i * e + d] * v[j * e + d];
      row[i] += std::exp(l);
      column[j] += std::exp(l);
    }
  InfoNce out{0, 0, Numbers(b * e), Numbers(b * e)};
  const auto n = static_cast<double>(b);
  for (std::size_t i = 0; i < b; ++i)
    for (std::size_t j = 0; j < b; ++j) {
      const double l = logits[i * b + j], p = std::exp(l) / row[i], q = std::exp(l) / column[j];
      if (i == j) out.loss -= (std::log(p) + std::log(q)) / (2 * n);
      const double g = (p + q - (i == j ? 2 : 0)) / (2 * n);  // dloss / dlogits_ij
      if (log_scale <= most) out.dlog_scale += g * l;
      for (std::size_t d = 0; d < e; ++d) {  // a cosine's slope along its own vectors is 0
        out.du[i * e + d] += g * (t * v[j * e + d] - l * u[i * e + d]);
        out.dv[j * e + d] += g * (t * u[i * e + d] - l * v[j * e + d]);
      }
    }
  return out;
}

void compare_info_nce() {
  constexpr std::int64_t b = 6, e = 8;
  Random random(1);
  const auto unit_vectors = [&] {
    return l2_normalize(Variable(nn::normal({b, e}, 1, random).cast(DType::float64))).value();
  };
  const Tensor u = unit_vectors(), v = unit_vectors();
  for (const double log_scale : {std::log(1 / 0.07), 5.0}) {
    const InfoNce naive = naive_info_nce(u.to_vector(), v.to_vector(), b, log_scale);
    const Variable images(u, true), texts(v, true), scale(Tensor::full({1}, log_scale, DType::float64), true);
    const Variable loss = info_nce(images, texts, scale);
    loss.backward();
    fmt::print("InfoNCE of {} random pairs, log_scale {:.2f}: loss {:.4f}, dlog_scale {:.4f}\n", b, log_scale,
               naive.loss, naive.dlog_scale);
    expect(largest_difference({naive.loss, naive.dlog_scale}, {loss.item(), scale.grad().item()}) < 1e-12 &&
               largest_difference(naive.du, images.grad().to_vector()) < 1e-12 &&
               largest_difference(naive.dv, texts.grad().to_vector()) < 1e-12,
           "the loss by hand and its gradients are vitral's to 1e-12");
  }
  // The best that 64 pairs can do: own cosine 1, the 63 others -1/63, as the corners of a simplex have it.
  fmt::print("the least loss of 64 pairs, by chance {:.2f}:", std::log(64));
  for (const double t : {1.0, 1 / 0.07, 100.0})
    fmt::print("  {:.6f} at t = {:.1f}", std::log1p(63 * std::exp(-t * 64 / 63)), t);
  fmt::print("\n");
}

// --- images and captions ---

constexpr std::int64_t train_scenes = 4096, val_scenes = 256, batch_size = 64, steps = 384;
constexpr int width = 64;  // E, of the embeddings

std::vector<data::Scene> make_scenes(const data::Scenes& emoji, data::Split split, std::int64_t count) {
  std::vector<data::Scene> out;
  data::make_samples(
      count, [&](std::int64_t i) { return emoji.make(0, split, i); },
      [&](std::int64_t, data::Scene& scene) { out.push_back(std::move(scene)); });
  return out;
}

// `count` scenes, the k-th of them number (first + k) * stride; of each the caption number `which`.
data::Inputs inputs_of(const std::vector<data::Scene>& scenes, std::int64_t first, std::int64_t count,
                       std::int64_t stride, std::int64_t which, const data::CaptionTokens& captions) {
  constexpr std::int64_t size = data::scenes_image_size;
  data::Inputs out{.images = Tensor({count, size, size, 3}, DType::uint8)};
  out.tokens = Tensor({count, captions.context}, DType::int64);
  for (std::int64_t i = 0; i < count; ++i) {
    const data::Scene& scene = scenes[static_cast<std::size_t>((first + i) * stride) % scenes.size()];
    out.images.rows(i, i + 1).copy_from(scene.image.reshape({1, size, size, 3}));
    captions.write(scene.captions[static_cast<std::size_t>(which)],
                   out.tokens.rows(i, i + 1).data<std::int64_t>());
  }
  return out;
}

// --- a batch at once, and in pieces: the gradients of its loss, left in the model; -> the loss ---

double backward_at_once(models::Contrastive& clip, const data::Inputs& batch) {
  const Variable loss = models::loss_of(clip.terms(batch, DType::float32, {.training = true}));
  loss.backward();
  return loss.item();
}

double backward_in_pieces(models::Contrastive& clip, const data::Inputs& batch, std::int64_t piece) {
  const train::BatchRows rows{.begin = 0, .end = batch_size, .first_sample = 0};
  const train::MicroBatches pieces(clip, DType::float32, /*seed=*/0, Tensor::zeros({1}, DType::int64));
  // 1. Forward, a piece at a time, without a tape: the embeddings of images and captions, side by side.
  Tensor features({batch_size, clip.feature_width()});
  pieces.features(features, batch, rows, piece);
  // 2. The loss of the whole batch, and back from it to the embeddings, no further.
  const Variable leaf(features, true);
  const Variable loss = models::loss_of(clip.terms_of(leaf, {}, batch_size));
  loss.backward();
  // 3. Forward again, a piece at a time, now with a tape, which carries the piece's rows of that back.
  pieces.carry_back(leaf.grad(), batch, rows, piece);
  return loss.item();
}

void compare_pieces(models::Contrastive& clip, const data::Inputs& batch) {
  Numbers at_once;  // the gradients of all weights, one behind the other
  for (const std::int64_t piece : {batch_size, batch_size / 4, batch_size / 16}) {
    clip.model().zero_grad();
    reset_peak(cpu);
    const std::size_t before = allocator_stats(cpu).bytes_in_use;
    const double loss =
        piece == batch_size ? backward_at_once(clip, batch) : backward_in_pieces(clip, batch, piece);
    fmt::print("{} pairs, {:2} at a time: loss {:.4f}, {:4.1f} MiB\n", batch_size, piece, loss,
               static_cast<double>(allocator_stats(cpu).peak_in_use - before) / (1 << 20));
    Numbers gradients;
    for (const auto& p : clip.model().parameters())
      for (const double g : p.value->grad().to_vector()) gradients.push_back(g);
    if (at_once.empty()) at_once = gradients;
    expect(largest_difference(at_once, gradients) < 1e-5, "gradients in pieces are those at once");
  }
  fmt::print("16 of them alone:       loss {:.4f}\n", backward_at_once(clip, batch.rows(0, 16)));
}

// --- training ---

void train_clip(models::Contrastive& clip, const std::vector<data::Scene>& scenes) {
  train::AdamW optimizer(clip.model(), {.beta2 = 0.98, .weight_decay = 0.1}, /*decay_matrices_only=*/true);
  const auto schedule = train::make_schedule({.name = "one_cycle"}, 2e-3, steps);
  for (std::int64_t step = 0; step < steps; ++step) {
    // Modulo a power of two, an odd stride gives another order of all scenes each epoch.
    const std::int64_t first = step * batch_size, epoch = first / train_scenes;
    const auto batch = inputs_of(scenes, first, batch_size, 2 * epoch + 1001, epoch % 3, clip.captions());
    clip.model().zero_grad();
    const double loss = backward_at_once(clip, batch), t = std::exp(clip.model().logit_scale().item());
    optimizer.step(schedule->lr(step));
    if ((step + 1) % (steps / 6) == 0) fmt::print("  step {:3}: loss {:.2f}, t {:.2f}\n", step + 1, loss, t);
  }
}

// Of each image the cosines with the captions of the eight images that it is one of, [B,8].
Numbers cosines_of(const models::Contrastive& clip, const data::Inputs& inputs) {
  const NoGrad no_grad;
  const Variable features =
      l2_normalize(reshape(clip.features(inputs, DType::float32, {}), {-1, 8, 2, width}));
  const Variable u = slice(features, 2, 0, 1), v = slice(features, 2, 1, 2);
  return matmul(reshape(u, {-1, 8, width}), reshape(v, {-1, 8, width}), true).value().to_vector();
}

// Whether image i fits its own caption best.
bool finds(const Numbers& cosines, std::size_t i) {
  const auto row = cosines.begin() + static_cast<std::ptrdiff_t>(8 * i);
  return std::max_element(row, row + 8) - row == static_cast<std::ptrdiff_t>(i % 8);
}

// Prints those of the first eight; -> the share of all images that find their caption.
double show(const char* when, const Numbers& cosines) {
  fmt::print("{}: cosines of images (rows) and captions (columns), in hundredths\n", when);
  for (std::size_t k = 0; k < 64; ++k) fmt::print("{:5.0f}{}", 100 * cosines[k], k % 8 == 7 ? "\n" : "");
  double found = 0;
  for (std::size_t i = 0; i < val_scenes; ++i) found += finds(cosines, i) ? 1.0 / val_scenes : 0;
  fmt::print("of 8 captions, {:.2f} of {} images find theirs\n", found, val_scenes);
  return found;
}

void draw(const std::string& path, const std::vector<data::Scene>& scenes, const Numbers& before,
          const Numbers& after) {
  constexpr std::int64_t side = 64, cell = 38, top = 46, matrix = 8 * cell + 20, left = 330;
  constexpr infer::Colour black{}, white{255, 255, 255}, blue{20, 60, 140}, orange{210, 100, 30};
  using infer::Font;
  infer::Canvas canvas(left + 2 * matrix, top + 8 * (side + 4), white);
  for (std::size_t i = 0; i < 8; ++i) {
    const std::int64_t row = static_cast<std::int64_t>(i), y = top + row * (side + 4);
    const Tensor image = data::resize(scenes[i].image, side, side, data::Filter::bilinear);
    const auto* p = image.data<std::uint8_t>();
    for (std::int64_t k = 0; k < side * side; ++k, p += 3)
      canvas.set(30 + k % side, y + k / side, {p[0], p[1], p[2]});
    const std::string &caption = scenes[i].captions[0], number = std::to_string(i + 1);
    const std::size_t end = std::min(caption.find(' ', 30), caption.size());  // of the first line
    canvas.text(104, y + 18, caption.substr(0, end), Font::small, black);
    canvas.text(98, y + 32, caption.substr(end), Font::small, black);
    canvas.text(10, y + 24, number, Font::large, black);
    std::int64_t x = left;
    for (const Numbers* cosines : {&before, &after}) {
      canvas.text(x, 6, cosines == &before ? "cosines before" : "after training", Font::large, black);
      canvas.text(x + cell * row + 14, 26, number, Font::large, black);
      for (std::size_t j = 0; j < 8; ++j, x += cell) {
        const auto c = static_cast<float>((*cosines)[8 * i + j]);
        canvas.fill({x, y, cell - 2, side}, infer::mix(white, c > 0 ? blue : orange, std::abs(c)));
        canvas.text(x + 3, y + 26, fmt::format("{:5.2f}", c), Font::small, c > 0.5F ? white : black);
        if (i == j && finds(*cosines, i)) canvas.frame({x, y, cell - 2, side}, 2, black);
      }
      x += matrix - 8 * cell;
    }
  }
  data::write_png(path, canvas.image());
}

}  // namespace

int main(int argc, char** argv) {
  const std::string folder = argc > 1 ? argv[1] : ".", vocabulary = folder + "/08_vocabulary";
  compare_info_nce();
  try {
    data::find_emoji_font();
  } catch (const UsageError&) {
    fmt::print("the rest needs the font Noto Color Emoji; install the package fonts-noto-color-emoji\n");
    return all_hold ? 77 : 1;  // 77: skipped
  }
  const data::Scenes emoji;
  const auto scenes = make_scenes(emoji, data::Split::train, train_scenes),
             val = make_scenes(emoji, data::Split::val, val_scenes);
  data::WordCounts words;
  for (const data::Scene& scene : scenes)
    for (const std::string& caption : scene.captions) data::count_words(caption, words);
  const data::BytePairs pairs = data::learn_byte_pairs(words, 450);
  const auto merges = pairs.merges();
  expect(naive_byte_pairs(words, 450).merges() == merges, "the byte pairs by hand are vitral's");
  fmt::print("\n{} captions, {} different words; merges:", 3 * train_scenes, words.size());
  for (const std::size_t i : {0, 1, 2, 3, 4, 449}) fmt::print("  {}+{}", merges[i].first, merges[i].second);
  std::filesystem::create_directories(vocabulary);
  data::write_vocabulary(vocabulary, pairs);
  const auto tokenizer = std::make_shared<const data::ClipTokenizer>(data::ClipTokenizer::load(vocabulary));
  fmt::print("\n\"{}\":", val[1].captions[0]);
  for (const auto token : tokenizer->encode(val[1].captions[0]))
    fmt::print(" [{}]", tokenizer->decode({token}));

  models::ClipConfig config;
  config.image_size = data::scenes_image_size, config.patch_size = 16, config.width = width;
  config.vision = {.width = 96, .layers = 3, .heads = 3};
  config.text.width = 64, config.text.layers = config.text.heads = 2, config.text.context = 24;
  config.text.vocabulary_size = static_cast<int>(tokenizer->size());
  models::Contrastive clip(config, tokenizer);
  fmt::print("\n\na CLIP of {} weights\n", clip.model().parameter_count());
  const data::Inputs unseen = inputs_of(val, 0, val_scenes, 1, 0, clip.captions());
  compare_pieces(clip, unseen.rows(0, batch_size));

  const Numbers before = cosines_of(clip, unseen);
  train_clip(clip, scenes);
  const Numbers after = cosines_of(clip, unseen);
  expect(show("before", before) < 0.25, "before training, captions are found by chance");
  expect(show("after", after) > 0.5, "after it, more than half of the images find their caption");
  draw(folder + "/08_cosines.png", val, before, after);
  return all_hold ? 0 : 1;
}
