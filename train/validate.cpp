#include "train/validate.h"

#include <algorithm>
#include <array>
#include <optional>

#include "models/inference.h"
#include "processes/ahead.h"
#include "processes/share.h"

namespace vitral::train {

namespace {

// A batch that the device is at: what is measured of it, on its way to the host.
struct Begun {
  explicit Begun(Device device) : download(device) {}
  data::Batch batch;
  models::Measured measured = {};
  std::vector<Tensor> numbers = {};  // of `measured`
  Tensor features = {};              // of a loss that compares images
  Download download;
};

// Batches in their order: read, shown to the teacher, measured.
class Batches {
 public:
  Batches(const models::Objective& objective, data::Loader& loader, const Teacher* teacher, Device device,
          DType dtype, const Group& group)
      : objective_(objective),
        loader_(loader),
        teacher_(teacher),
        device_(device),
        dtype_(dtype),
        uploads_{Upload(device), Upload(device)},
        asked_(group.rank(), group.size(), loader.batches_per_epoch(), ahead(),
               [this](std::int64_t) { return ask(); }),
        begun_(group.rank(), group.size(), loader.batches_per_epoch(), ahead(),
               [this](std::int64_t) { return begin(); }) {}

  Begun take() { return begun_.take(); }

 private:
  struct Asked {
    data::Batch batch;
    std::optional<Teacher::Answer> answer = {};
  };

  std::size_t ahead() const { return models::batches_ahead(device_); }

  Asked ask() const {
    Asked out{std::move(*loader_.next())};
    if (teacher_ && out.batch.size() > 0) out.answer.emplace(teacher_->ask(out.batch, 0, out.batch.size()));
    return out;
  }

  Begun begin() {
    const NoGrad no_grad;
    Asked asked = asked_.take();
    Begun out(device_);
    out.batch = std::move(asked.batch);
    if (out.batch.size() == 0) return out;
    if (asked.answer) asked.answer->add_to(out.batch);
    if (const std::string problem = data::target_problem(out.batch, loader_.dataset()); !problem.empty())
      throw_error("validation: {}; embed that image again, or remove it", problem);
    Upload& upload = uploads_[begun_batches_++ % uploads_.size()];
    upload.begin(data::tensors_of(out.batch));
    const data::Inputs inputs = data::inputs_of(upload.to()).rows(0, out.batch.size());
    if (objective_.feature_width() == 0) {
      out.measured = objective_.measured(inputs, dtype_);
    } else {
      const Variable features = objective_.features(inputs, dtype_, {});
      out.measured = loss_of_batch(features);
      out.features = fetch(out.download, features.value());
    }
    upload.end();
    for (const Tensor& number : out.measured.numbers) out.numbers.push_back(fetch(out.download, number));
    out.measured.numbers.clear();
    out.download.keep(upload.take_sources());
    out.download.end();
    return out;
  }

  // Of a loss that compares images: that of the batch alone, times its images.
  models::Measured loss_of_batch(const Variable& features) const {
    const std::int64_t images = features.dim(0);
    return {
        {models::loss_of(objective_.terms_of(features, {}, images)).value()},
        [n = static_cast<double>(images)](std::span<const double> loss) { return std::vector{loss[0] * n}; }};
  }

  Tensor fetch(Download& download, const Tensor& from) const {
    Tensor to = Download::room(device_, from.shape(), from.dtype());
    download.add(to, from);
    return to;
  }

  const models::Objective& objective_;
  data::Loader& loader_;
  const Teacher* teacher_;
  Device device_;
  DType dtype_;
  std::array<Upload, 2> uploads_;
  std::size_t begun_batches_ = 0;
  Ahead<Asked> asked_;
  Ahead<Begun> begun_;
};

}  // namespace

Validation validate(const models::Objective& objective, data::Loader& loader, const Teacher* teacher,
                    Device device, DType dtype, const std::function<int()>& stop, Group& group) {
  const NoGrad no_grad;
  const std::int64_t width = objective.feature_width();
  models::Means means(objective.measures());
  std::vector<float> features;  // of all images that could be read, [M,width]
  std::vector<std::int64_t> indices;
  const std::int64_t batches = loader.batches_per_epoch();
  loader.begin_epoch(0, std::min<std::int64_t>(group.rank(), batches));
  Batches begun(objective, loader, teacher, device, dtype, group);
  const auto measure = [&](std::int64_t) {
    Begun b = begun.take();
    Parcel made;
    put(made, b.batch.size());
    if (b.batch.size() == 0) return made;
    b.download.wait();
    put(made, b.measured.of(b.numbers));
    if (width == 0) return made;
    put(made, std::vector<float>(b.features.data<float>(), b.features.data<float>() + b.features.numel()));
    put(made, b.batch.indices);
    return made;
  };
  const auto add = [&](std::int64_t, Parcel& made) {
    const auto images = get<std::int64_t>(made);
    if (images == 0) return;
    means.add(get<std::vector<double>>(made), images);
    if (width == 0) return;
    const auto rows = get<std::vector<float>>(made);
    features.insert(features.end(), rows.begin(), rows.end());
    const auto of = get<std::vector<std::int64_t>>(made);
    indices.insert(indices.end(), of.begin(), of.end());
  };
  if (const int signal = share_blocks(group, batches, measure, add, stop))
    return {.values = {}, .signal = signal};
  VITRAL_CHECK(means.images() > 0, "validation: {} has no image that can be read",
               loader.dataset().paths().front());
  Validation out{.values = means.result(), .signal = 0};
  if (width == 0) return out;
  const Tensor all = Tensor::from(features, {means.images(), width});
  for (auto& value : objective.measure_whole(all, indices, loader.dataset()))
    out.values.push_back(std::move(value));
  return out;
}

}  // namespace vitral::train
