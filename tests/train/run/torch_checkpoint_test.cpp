// Optimiser and scheduler state of PyTorch: the next steps are those of PyTorch, and what does not fit is one
// line.
#include "train/run/torch_checkpoint.h"

#include <functional>

#include <gtest/gtest.h>
#include <zip.h>

#include "autograd/ops.h"
#include "data/weights/torch_training.h"
#include "models/student/infer_config.h"
#include "tests/models/golden_student.h"
#include "tests/support.h"
#include "train/adamw.h"
#include "train/objective.h"

namespace vitral::train {
namespace {

using namespace std::string_literals;
using test::message_of;

const std::string begun = "tests/golden/run_torch.pt";  // tests/reference/make_torch_checkpoint.py

Config config_for(const models::StudentConfig& student) {
  Config config;
  static_cast<models::StudentConfig&>(config.model) = student;
  return config;
}

// Two steps on the batch in the .h5, from the state in the .pt.
void check_next_steps(const std::string& pt, const std::string& h5) {
  const data::H5File golden = data::H5File::open(h5);
  const models::StudentConfig student_config = test::golden_config(golden);
  const Config config = config_for([&] {
    models::StudentConfig c = student_config;
    c.same_norm = test::number_attribute(golden, "same_norm") != 0;
    return c;
  }());
  std::vector<std::string> warnings;
  const Checkpoint checkpoint = load_torch_checkpoint(pt, config, *make_objective(config), {}, warnings);
  EXPECT_TRUE(warnings.empty()) << warnings.front();
  EXPECT_EQ(checkpoint.step, 3);
  EXPECT_EQ(checkpoint.state["trainer"]["epoch"], 3);
  EXPECT_EQ(checkpoint.state["schedule"]["lr"], 1e-3);

  models::Student student(config.model);
  student.load_state(checkpoint.model, pt);
  AdamW optimizer(student, {.weight_decay = 0.01});
  optimizer.load_state(checkpoint.optimizer, pt);
  const Variable x(golden.read("input")), t(golden.read("target"));
  const auto losses = golden.read("resume/losses").to_vector();
  for (std::size_t i = 0; i < losses.size(); ++i) {
    const Variable loss = distillation_loss(student.forward(x).embedding, t, 20);
    EXPECT_NEAR(loss.value().item(), losses[i], 1e-5 * losses[i]) << "step " << i;
    student.zero_grad();
    loss.backward();
    optimizer.step(1e-3);
  }
  std::map<std::string, Tensor> after;
  for (const auto& [name, tensor] : student.state()) after[name] = tensor;
  const auto expected = test::read_group(golden, "resume/state_after");
  EXPECT_EQ(expected.size(), after.size());
  for (const auto& [name, tensor] : expected) {
    if (name == "scale") continue;  // its gradient is rounding noise
    // Parts of these get none but rounding noise either (tests/reference/README.md).
    const bool noise = name.ends_with("in_proj_bias") || name.ends_with("mlp.c_proj.bias");
    EXPECT_LT(test::relative_error(after[name], tensor), noise ? 1e-3 : 1e-5) << name;
  }
}

TEST(TorchCheckpoint, NextStepsOfTheMaskedStudent) {
  VITRAL_NEEDS_SHARED(pt, "golden/checkpoint_masked.pt");
  check_next_steps(pt, test::shared_path("golden/checkpoint_masked.h5"));
}
TEST(TorchCheckpoint, NextStepsOfAFileFromAGpu) {
  VITRAL_NEEDS_SHARED(pt, "golden/checkpoint_masked_cuda.pt");
  check_next_steps(pt, test::shared_path("golden/checkpoint_masked.h5"));
}
TEST(TorchCheckpoint, NextStepsOfTheUnmaskedStudent) {
  VITRAL_NEEDS_SHARED(pt, "golden/checkpoint_no_scale_unmasked.pt");
  check_next_steps(pt, test::shared_path("golden/checkpoint_no_scale_unmasked.h5"));
}

TEST(TorchTraining, ReadsAllOfOurFile) {
  const data::TorchTraining t = data::read_torch_training(begun);
  EXPECT_EQ(t.epoch, 1);
  ASSERT_TRUE(t.optimizer && t.scheduler);
  EXPECT_EQ(t.optimizer->lr, 1e-3);
  EXPECT_EQ(t.optimizer->betas, (std::array{0.9, 0.999}));
  EXPECT_EQ(t.optimizer->eps, 1e-8);
  EXPECT_EQ(t.optimizer->weight_decay, 0.01);
  EXPECT_EQ(t.optimizer->steps, 6);
  // Three tensors for each parameter but the two of ln_post, which get no gradient.
  EXPECT_EQ(t.optimizer->state.size(), 3 * (t.model.tensors.size() - 2));
  for (const auto& [name, tensor] : t.optimizer->state) EXPECT_FALSE(name.starts_with("ln_post")) << name;
  EXPECT_EQ(t.scheduler->patience, 1);
  EXPECT_EQ(t.scheduler->bad_epochs, 1);
  EXPECT_EQ(t.scheduler->factor, 0.5);
  EXPECT_EQ(t.scheduler->threshold, 0.5);
  EXPECT_EQ(t.scheduler->min_lr, 1e-6);
  EXPECT_EQ(t.scheduler->cooldown, 0);
  EXPECT_EQ(t.scheduler->epochs, 2);
  EXPECT_NEAR(t.scheduler->best, 5, 1);
}

TEST(TorchTraining, WeightsAloneHaveNone) {
  const std::string weights = "tests/golden/tiny.pt";
  EXPECT_TRUE(message_of([&] { data::read_torch_training(weights); })
                  .starts_with(weights + ": its optimizer has 1 parameters, its model 13 tensors; only an "
                                         "optimizer of all of model.parameters() can go on, "));
}

// Our file with its pickle changed.
class HostileTorchTraining : public testing::Test {
 protected:
  using Change = std::function<void(std::string& pickle)>;

  std::string message(const Change& change) {
    write(change);
    return message_of([&] {
      std::vector<std::string> warnings;
      const Config config = config_for(data_config());
      load_torch_checkpoint(path_, config, *make_objective(config), {}, warnings);
    });
  }
  // The same of a text that is there once, by one of the same length.
  std::string message(const std::string& from, const std::string& to) {
    EXPECT_EQ(from.size(), to.size());
    return message([&](std::string& pickle) {
      const std::size_t at = pickle.find(from);
      ASSERT_NE(at, std::string::npos);
      pickle.replace(at, from.size(), to);
    });
  }
  // Sets a flag of the parameter group.
  static Change flag(const std::string& name, char value) {
    return [=](std::string& pickle) {
      const std::size_t at = pickle.find_first_of("\x88\x89", pickle.find(name));
      ASSERT_NE(at, std::string::npos);
      ASSERT_NE(pickle[at], value);
      pickle[at] = value;
    };
  }
  static models::StudentConfig data_config() {
    return models::infer_student_config(data::read_torch_training(begun).model.tensors, begun);
  }
  void write(const Change& change) {
    test::put_file(path_, test::bytes_of_file(begun));
    zip_t* zip = zip_open(path_.c_str(), 0, nullptr);
    ASSERT_NE(zip, nullptr);
    zip_int64_t index = 0;
    while (!std::string_view(zip_get_name(zip, static_cast<zip_uint64_t>(index), 0)).ends_with("data.pkl"))
      ++index;
    zip_stat_t status;
    zip_stat_index(zip, static_cast<zip_uint64_t>(index), 0, &status);
    std::string pickle(status.size, '\0');
    zip_file_t* file = zip_fopen_index(zip, static_cast<zip_uint64_t>(index), 0);
    zip_fread(file, pickle.data(), pickle.size());
    zip_fclose(file);
    change(pickle);
    zip_source_t* source = zip_source_buffer(zip, pickle.data(), pickle.size(), 0);
    zip_file_replace(zip, static_cast<zip_uint64_t>(index), source, 0);
    zip_set_file_compression(zip, static_cast<zip_uint64_t>(index), ZIP_CM_STORE, 0);
    ASSERT_EQ(zip_close(zip), 0);
  }

  test::TempDir dir_;
  std::string path_ = dir_ / "x.pt";
  std::string end_ = "; to begin a new run with its weights, set model.init_from";
};

TEST_F(HostileTorchTraining, EachThingThatDoesNotFitIsOneLine) {
  const auto says = [&](const std::string& what) { return path_ + ": " + what + end_; };
  EXPECT_EQ(message([](std::string&) {}), "no error");
  EXPECT_EQ(message("optimizer_state_dict", "optimizer_state_dicX"),
            says("has no optimizer_state_dict to go on with"));
  EXPECT_EQ(message("betas", "betaX"), says("its optimizer is not AdamW (param_groups has no betas)"));
  EXPECT_EQ(message("exp_avg", "momentu"),
            says("its optimizer has no exp_avg of 'positional_embedding', so it is not AdamW"));
  EXPECT_EQ(message("param_groups", "param_groupX"),
            says("its optimizer has no state and param_groups as torch.optim writes them"));
  EXPECT_EQ(message("weight_decay", "weight_decaX"), says("its optimizer has no number 'weight_decay'"));
  EXPECT_EQ(message("num_bad_epochs", "num_bad_epochX"),
            says("its scheduler is not ReduceLROnPlateau (no num_bad_epochs)"));
  EXPECT_EQ(message("\3\0\0\0min"s, "\3\0\0\0max"s),
            says("its scheduler has mode 'max' and threshold_mode 'rel', supported are min and rel"));
  EXPECT_EQ(message("rel", "abs"),
            says("its scheduler has mode 'min' and threshold_mode 'abs', supported are min and rel"));
  EXPECT_EQ(message(flag("amsgrad", '\x88')), says("its optimizer has amsgrad, which AdamW here has not"));
  EXPECT_EQ(message(flag("maximize", '\x88')), says("its optimizer has maximize, which AdamW here has not"));
  EXPECT_EQ(message(flag("decoupled_weight_decay", '\x89')),
            says("its optimizer is Adam, whose weight decay is not AdamW's"));
  EXPECT_EQ(
      message("(K\0K\1K\2"s, "(K\1K\0K\2"s),
      says("its optimizer has exp_avg [1] of 'positional_embedding' [16, 18]: their order is not that of the "
           "state dict"));
  EXPECT_EQ(message("(K\0K\1K\2"s, "(K\x63K\1K\2"s),
            says("its optimizer has state of a parameter 0 that is in no group"));
  EXPECT_EQ(message("K\1K\2K\3"s, "K\1K\2N0"s),  // a None that is dropped again: one parameter less
            path_ +
                ": its optimizer has 18 parameters, its model 19 tensors; only an optimizer of all of "
                "model.parameters() can go on, to begin a new run with its weights, set model.init_from");
}

}  // namespace
}  // namespace vitral::train
