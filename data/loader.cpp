#include "data/loader.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <exception>
#include <limits>
#include <mutex>
#include <numeric>
#include <thread>

#include "base/random.h"
#include "base/read_error.h"
#include "base/text.h"
#include "base/vectors.h"
#include "data/images/augment.h"
#include "data/images/image.h"

namespace vitral::data {
namespace {

constexpr std::int64_t grain = 4;  // samples that a worker takes at a time

// A batch that is being filled. Workers write rows of their own; everything else is guarded by the loader.
struct Pending : Inputs {
  std::vector<std::int64_t> indices;  // [B]
  std::vector<std::string> reasons;   // [B] why a sample is left out; empty: it is there
  std::int64_t planned = 0;
  std::vector<std::int64_t> slice_ends;  // as if none were left out
  std::int64_t claimed = 0, done = 0;
  std::int64_t failed_at = std::numeric_limits<std::int64_t>::max();  // first row that threw
  std::exception_ptr failure;

  std::int64_t size() const { return static_cast<std::int64_t>(indices.size()); }
};

// The batch without the rows that are left out.
Batch collect(Pending& p, const Dataset& dataset) {
  Batch batch;
  batch.planned = p.planned;
  std::int64_t kept = 0;
  for (std::int64_t k = 0; k < p.size(); ++k) {
    while (p.slice_ends[batch.slice_ends.size()] <= k) batch.slice_ends.push_back(kept);
    const std::int64_t index = p.indices[static_cast<std::size_t>(k)];
    auto& reason = p.reasons[static_cast<std::size_t>(k)];
    if (!reason.empty()) {
      batch.skipped.push_back({index, one_line(dataset.name(index)), std::move(reason)});
      continue;
    }
    batch.indices.push_back(index);
    for (const auto member : input_members)
      if (const Tensor& t = p.*member; kept != k && t.defined())
        t.rows(kept, kept + 1).copy_from(t.rows(k, k + 1));
    ++kept;
  }
  batch.slice_ends.resize(p.slice_ends.size(), kept);
  static_cast<Inputs&>(batch) = p.rows(0, kept);
  return batch;
}

// What is finished before its batch is lies in the upper left corner of what the others need.
void copy_into_corner(Tensor& to, const Tensor& image) {
  const std::int64_t to_bytes = to.dim(1) * 3, bytes = image.dim(1) * 3;
  if (to_bytes == bytes) return to.rows(0, image.dim(0)).copy_from(image);
  for (std::int64_t y = 0; y < image.dim(0); ++y)
    std::memcpy(to.data<std::uint8_t>() + y * to_bytes, image.data<std::uint8_t>() + y * bytes,
                static_cast<std::size_t>(bytes));
}

// No batch is larger than the dataset: products of batch sizes cannot overflow.
LoaderOptions bounded(LoaderOptions options, const Dataset& dataset) {
  options.batch_size = std::min(options.batch_size, std::max<std::int64_t>(dataset.size(), 1));
  return options;
}

}  // namespace

std::string target_problem(const Batch& batch, const Dataset& dataset) {
  for (const TargetKind& kind : target_kinds) {
    const Tensor& targets = batch.*kind.member;
    if (!targets.defined() || batch.size() == 0) continue;
    const std::int64_t width = targets.dim(-1), vectors = width > 0 ? targets.numel() / width : 0;
    std::int64_t first = vectors;  // that has a problem; vectors: none
#pragma omp parallel for reduction(min : first) if (vectors > 4096)
    for (std::int64_t k = 0; k < vectors; ++k)
      if (direction_problem(squared_length(targets.data<float>() + k * width, width)))
        first = std::min(first, k);
    if (first == vectors) continue;
    const std::int64_t places = vectors / batch.size();
    const std::int64_t index = batch.indices[static_cast<std::size_t>(first / places)];
    std::string name = one_line(dataset.name(index));
    if (dataset.has_name(index)) name += " in " + dataset.file(index);
    return fmt::format("the {}{} of {} is {}", kind.what,
                       kind.kind == Target::image ? "" : fmt::format(" {}", first % places), name,
                       direction_problem(squared_length(targets.data<float>() + first * width, width)));
  }
  return "";
}

struct Loader::State {
  State(Dataset d, const LoaderOptions& o) : dataset(std::move(d)), options(bounded(o, dataset)) {}
  ~State() {
    {
      const std::lock_guard lock(mutex);
      stop = true;
    }
    work.notify_all();
    workers.clear();  // joins
  }

  void check() const;
  void check_views() const;
  std::optional<Dataset::Size> whole_images() const;
  void begin(std::int64_t epoch, std::int64_t first_batch);
  std::shared_ptr<Pending> open_batch();
  void fill(Pending& p, std::int64_t first, std::int64_t last, std::int64_t epoch);
  void load(Pending& p, std::int64_t row, std::int64_t epoch) const;
  void run();
  std::shared_ptr<Pending> claimable();

  const Dataset dataset;
  const LoaderOptions options;
  std::int64_t batches = 0;
  std::optional<Dataset::Size> whole;  // of all images, where they are augmented later
  double waited = 0;                   // consumer only

  std::mutex mutex;  // guards all below
  std::condition_variable work, ready;
  std::vector<std::int64_t> order;  // of the epoch
  std::int64_t epoch = 0, next_batch = 0;
  std::deque<std::shared_ptr<Pending>> window;  // batches in order, the oldest first
  std::exception_ptr broken;                    // no batch could be made (out of memory)
  bool stop = false;
  std::vector<std::jthread> workers;
};

void Loader::State::check() const {
  const auto& o = options;
  VITRAL_CHECK(o.batch_size >= 1, "loader: batch_size {} must be at least 1", o.batch_size);
  VITRAL_CHECK(o.image_size >= 1 && o.image_size <= 1 << 14, "loader: image_size {} must be in 1..16384",
               o.image_size);
  VITRAL_CHECK(o.workers >= 0 && o.workers <= 1024, "loader: workers {} must be in 0..1024", o.workers);
  VITRAL_CHECK(o.prefetch >= 1, "loader: prefetch {} must be at least 1", o.prefetch);
  VITRAL_CHECK(
      o.stride >= 1 && o.first_slice >= 0 && o.first_slice < o.last_slice && o.last_slice <= o.slices,
      "loader: slices {} to {} of {} and every {}-th batch are none", o.first_slice, o.last_slice, o.slices,
      o.stride);
  check_augment(o.augment);
  VITRAL_CHECK(dataset.size() > 0, "{}: has no images", dataset.paths().front());
  VITRAL_CHECK(!o.captions.tokenizer || dataset.has_captions(),
               "{}: has no /captions to train on; pack it with --captions FILE", dataset.paths().front());
  if (o.captions.tokenizer) dataset.open_captions();
  if (o.targets.empty()) return;
  if (std::ranges::count(o.targets, Target::image) > 0) dataset.require_embeddings();
  check_views();
}

void Loader::State::check_views() const {
  const std::string ours = transform_name(options.augment);
  for (std::int64_t i = 0; i < dataset.size(); ++i) {
    const std::int64_t views = dataset.views(i);
    if (views == 0) continue;
    if (options.training) {
      const auto stored = dataset.transform(i);
      if (stored && *stored != ours)
        throw_error<UsageError>(
            "{}: its views were made with transform {} but data.augment is {}; use the same", dataset.file(i),
            one_line(*stored), ours);
      if (const int size = dataset.view_size(i); size > 0 && size != options.image_size)
        throw_error<UsageError>(
            "{}: its views have {} pixels a side but the student's images {}; use the same, or embed it "
            "again",
            dataset.file(i), size, options.image_size);
      continue;
    }
    if (dataset.plain_view(i) < 0)
      throw_error<UsageError>(
          "{}: image {} has no view with seed 0, which validation needs; embed it with one", dataset.file(i),
          i);
  }
}

// The size of all images where options.defer_augmentation can have its effect.
std::optional<Dataset::Size> Loader::State::whole_images() const {
  const AugmentConfig& a = options.augment;
  if (!options.defer_augmentation || !options.training || !draws_anything(a)) return std::nullopt;
  std::optional<Dataset::Size> size;
  if (a.resize > 0) {
    size = {a.resize, a.resize};
  } else {
    size = dataset.plain_size(0);
    for (std::int64_t i = 0; i < dataset.size(); ++i)
      if (dataset.plain_size(i) != size) return std::nullopt;
  }
  if (!size) return std::nullopt;
  const std::int64_t s = options.image_size, height = size->height, width = size->width;
  if (!a.random_crop) return height == s && width == s ? size : std::nullopt;
  // More would take longer to send than to cut.
  return height >= s && width >= s && height * width <= 4 * s * s ? size : std::nullopt;
}

void Loader::State::begin(std::int64_t new_epoch, std::int64_t first_batch) {
  VITRAL_CHECK(new_epoch >= 0 && first_batch >= 0 && first_batch <= batches,
               "loader: epoch {} batch {} is out of range, an epoch has {} batches", new_epoch, first_batch,
               batches);
  {
    const std::lock_guard lock(mutex);
    window.clear();  // a worker that still fills one of these keeps it alive
    epoch = new_epoch;
    next_batch = first_batch;
    order.resize(static_cast<std::size_t>(dataset.size()));
    std::iota(order.begin(), order.end(), std::int64_t{0});
    if (options.training && options.shuffle) {
      Random random(options.seed, epoch);
      for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random.below(i)]);
    }
  }
  work.notify_all();
}

// The next batch of the epoch, empty; the lock is held.
std::shared_ptr<Pending> Loader::State::open_batch() {
  auto p = std::make_shared<Pending>();
  const std::int64_t begin = next_batch * options.batch_size;
  p->planned = std::min(options.batch_size, dataset.size() - begin);
  const auto slice_begin = [&](std::int64_t k) { return p->planned * k / options.slices; };
  const std::int64_t first = slice_begin(options.first_slice), n = slice_begin(options.last_slice) - first;
  for (std::int64_t k = options.first_slice; k < options.last_slice; ++k)
    p->slice_ends.push_back(slice_begin(k + 1) - first);
  p->indices.assign(order.begin() + begin + first, order.begin() + begin + first + n);
  const std::int64_t s = options.image_size;
  const auto make = [&](const Shape& shape, DType dtype) {
    return options.pinned ? Tensor::pinned(shape, dtype) : Tensor(shape, dtype);
  };
  p->images = make(whole ? Shape{n, whole->height, whole->width, 3} : Shape{n, s, s, 3}, DType::uint8);
  if (whole) p->augmentations = make({n, augmentation_bytes(options.augment)}, DType::uint8);
  for (const Target kind : options.targets) {
    Shape shape{n};
    for (const auto d : dataset.target_shape(kind)) shape = shape.append(d);
    (*p).*kind_of(kind).member = make(shape, DType::float32);
  }
  if (options.captions.tokenizer) p->tokens = make({n, options.captions.context}, DType::int64);
  p->reasons.resize(p->indices.size());
  next_batch += options.stride;  // only now: what there is no memory for is not the end of the epoch
  return p;
}

void Loader::State::load(Pending& p, std::int64_t row, std::int64_t of_epoch) const {
  const std::int64_t i = p.indices[static_cast<std::size_t>(row)];
  const auto& o = options;
  std::uint64_t seed = 0;
  if (o.training) seed = std::max<std::uint64_t>(random_key(o.seed, of_epoch, i), 1);
  std::int64_t view = 0;
  if (const std::int64_t views = o.targets.empty() ? 0 : dataset.views(i); views > 0) {
    view =
        o.training
            ? static_cast<std::int64_t>(Random(o.seed, of_epoch, i).below(static_cast<std::uint64_t>(views)))
            : dataset.plain_view(i);
    seed = dataset.view_seed(i, view);
  }
  if (o.captions.tokenizer) {
    const std::vector<std::string> captions = dataset.captions(i);
    if (captions.empty()) {
      p.reasons[static_cast<std::size_t>(row)] = "it has no caption";
      return;
    }
    const std::size_t which = o.training ? Random(o.seed, of_epoch, i, 1).below(captions.size()) : 0;
    o.captions.write(captions[which], p.tokens.rows(row, row + 1).data<std::int64_t>());
  }
  for (const Target kind : o.targets) {
    const Tensor& targets = p.*kind_of(kind).member;
    dataset.read_target(i, view, targets.rows(row, row + 1).data<float>(), kind);
  }

  Tensor to = p.images.rows(row, row + 1).reshape({p.images.dim(1), p.images.dim(2), 3});
  const bool later = whole && seed != 0;
  if (whole)
    write_augmentation(p.augmentations.rows(row, row + 1).data<std::uint8_t>(), o.augment, whole->height,
                       whole->width, o.image_size, seed);
  const auto size = dataset.plain_size(i);
  const bool as_it_is = later || seed == 0 || o.augment.none();
  const std::int64_t side = o.image_size, height = later ? whole->height : side,
                     width = later ? whole->width : side;
  if (size && as_it_is && size->height == height && size->width == width && to.dim(1) == width)
    return dataset.read_plain(i, to.data<std::uint8_t>());
  Tensor image;
  if (size) {
    image = dataset.image(i);
  } else {
    thread_local std::vector<std::uint8_t> bytes;
    dataset.read_encoded(i, bytes);
    try {
      const std::int64_t min_side = o.training ? decode_min_side(o.augment, o.image_size, seed) : 0;
      image = dataset.decode(i, bytes, min_side);
    } catch (const ReadError&) {
      throw;
    } catch (const Error& e) {
      p.reasons[static_cast<std::size_t>(row)] = e.what();
      return;
    }
  }
  copy_into_corner(to,
                   later ? resize_first(image, o.augment) : augment(image, o.augment, o.image_size, seed));
}

void Loader::State::fill(Pending& p, std::int64_t first, std::int64_t last, std::int64_t of_epoch) {
  for (std::int64_t row = first; row < last; ++row) {
    try {
      load(p, row, of_epoch);
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (row < p.failed_at) {  // the same row for any number of workers
        p.failed_at = row;
        p.failure = std::current_exception();
      }
    }
  }
}

// The oldest batch with rows that nobody fills yet, or a new one where there is room; the lock is held.
std::shared_ptr<Pending> Loader::State::claimable() {
  for (auto& p : window)
    if (p->claimed < p->size()) return p;
  if (broken || next_batch >= batches || static_cast<int>(window.size()) >= options.prefetch) return nullptr;
  try {
    window.push_back(open_batch());
    return window.back();
  } catch (...) {
    broken = std::current_exception();
    ready.notify_one();
    return nullptr;
  }
}

void Loader::State::run() {
  std::unique_lock lock(mutex);
  for (;;) {
    std::shared_ptr<Pending> p;
    work.wait(lock, [&] { return stop || (p = claimable()); });
    if (stop) return;
    const std::int64_t first = p->claimed;
    const std::int64_t last = std::min(first + grain, p->size());
    p->claimed = last;
    const std::int64_t of_epoch = epoch;
    lock.unlock();
    fill(*p, first, last, of_epoch);
    lock.lock();
    p->done += last - first;
    if (p->done == p->size()) ready.notify_one();
  }
}

Loader::Loader(Dataset dataset, const LoaderOptions& options)
    : state_(std::make_unique<State>(std::move(dataset), options)) {
  State& s = *state_;
  s.check();
  s.whole = s.whole_images();
  s.batches = (s.dataset.size() + s.options.batch_size - 1) / s.options.batch_size;
  s.begin(0, 0);
  for (int i = 0; i < s.options.workers; ++i) s.workers.emplace_back([&s] { s.run(); });
}

Loader::~Loader() = default;
Loader::Loader(Loader&&) noexcept = default;
Loader& Loader::operator=(Loader&&) noexcept = default;

std::optional<Batch> Loader::next() {
  State& s = *state_;
  std::shared_ptr<Pending> p;
  const auto start = std::chrono::steady_clock::now();
  {
    std::unique_lock lock(s.mutex);
    if (s.options.workers > 0) {
      if (s.window.empty() && s.next_batch >= s.batches) return std::nullopt;
      s.ready.wait(lock, [&] {
        return s.window.empty() ? s.broken != nullptr : s.window.front()->done == s.window.front()->size();
      });
      if (s.window.empty()) std::rethrow_exception(s.broken);
      p = s.window.front();
      s.window.pop_front();
    } else {
      if (s.next_batch >= s.batches) return std::nullopt;
      p = s.open_batch();
    }
  }
  if (s.options.workers > 0)
    s.work.notify_all();
  else
    s.fill(*p, 0, p->size(), s.epoch);
  s.waited += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (p->failure) std::rethrow_exception(p->failure);
  return collect(*p, s.dataset);
}

void Loader::begin_epoch(std::int64_t epoch, std::int64_t first_batch) { state_->begin(epoch, first_batch); }
std::int64_t Loader::batches_per_epoch() const { return state_->batches; }
double Loader::wait_seconds() const { return state_->waited; }
const Dataset& Loader::dataset() const { return state_->dataset; }

}  // namespace vitral::data
