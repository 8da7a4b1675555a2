// Each fused kernel of a training step of the 21.4M student, alone: checked against the CPU's composition of
// simpler operations, then timed over batch sizes. Bytes and operations are those that the task itself needs
// (each input read once, each result written once); tensor/cuda/*.cu say where they come from.
//
//   build/tests/bench_kernels --device cuda --precision bf16 [--batch 256 1024 4096] [--only attention]
//   [--json]
#include <cmath>
#include <cstdio>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "autograd/composed.h"
#include "autograd/ops.h"
#include "base/random.h"
#include "data/images/augment.h"
#include "models/pixels.h"
#include "tensor/backend.h"
#include "tensor/ops/adamw.h"
#include "tensor/ops/binary.h"
#include "tensor/ops/distillation_loss.h"
#include "tensor/ops/layer_norm.h"
#include "tensor/ops/linear.h"
#include "tensor/ops/patch_pooling.h"
#include "tensor/ops/patchify.h"
#include "tests/bench/timing.h"

namespace {

using namespace vitral;

constexpr std::int64_t tokens = 64, heads = 16, width = 528, hidden = 4 * width, embedding = 512, side = 224,
                       patch = 28, parameters = 21390337;

// A kernel with its tensors: run() fills outputs.
struct Work {
  std::vector<Tensor> outputs;
  std::function<void()> run;
};

struct Case {
  std::string name;
  double bytes, flops;  // of one image, of activations in bfloat16 (bytes: twice that in float32)
  std::function<Work(std::int64_t batch, DType dtype, Device device)> make;
};

// The same numbers on every device: [batch, ...], rounded to the dtype.
Tensor normal(const Shape& shape, std::uint64_t seed, DType dtype, Device device, double factor = 1) {
  constexpr std::int64_t pattern = 1 << 16;
  Tensor host(shape);
  Random random(seed);
  for (std::int64_t i = 0; i < host.numel(); ++i)
    host.data<float>()[i] =
        i < pattern ? static_cast<float>(factor * random.normal()) : host.data<float>()[i - pattern + 1];
  return host.to(device).cast(dtype);
}

bool on_gpu(Device device) { return !device.is_cpu(); }
DType master(DType dtype) { return dtype == DType::bfloat16 ? DType::float32 : dtype; }

RowStatistics statistics(std::int64_t batch, DType dtype, Device device) {
  return {Tensor({batch * tokens}, master(dtype), device), Tensor({batch * tokens}, master(dtype), device)};
}

Case layer_norm_case() {
  return {"layer_norm", 2.0 * tokens * width * 2, 0, [](std::int64_t b, DType t, Device d) {
            const Tensor x = normal({b * tokens, width}, 1, t, d), w = normal({width}, 2, master(t), d),
                         bias = normal({width}, 3, master(t), d);
            Tensor y(x.shape(), t, d);
            const RowStatistics rows = statistics(b, t, d);
            return Work{{y, rows.mean, rows.rstd},
                        [=]() mutable { kernel::layer_norm(y, rows, x, w, bias, 1e-5); }};
          }};
}

Case add_layer_norm_case() {
  return {"add_layer_norm", 4.0 * tokens * width * 2, 0, [](std::int64_t b, DType t, Device d) {
            const Tensor x = normal({b * tokens, width}, 1, t, d), delta = normal(x.shape(), 4, t, d),
                         w = normal({width}, 2, master(t), d), bias = normal({width}, 3, master(t), d);
            Tensor sum(x.shape(), t, d), y(x.shape(), t, d);
            const RowStatistics rows = statistics(b, t, d);
            return Work{{sum, y, rows.mean, rows.rstd}, [=]() mutable {
                          if (on_gpu(d)) return kernel::add_layer_norm(sum, y, rows, x, delta, w, bias, 1e-5);
                          kernel::binary(sum, x, delta, BinaryOp::add);
                          kernel::layer_norm(y, rows, sum, w, bias, 1e-5);
                        }};
          }};
}

Case layer_norm_backward_case() {
  return {"layer_norm_backward", 4.0 * tokens * width * 2, 0, [](std::int64_t b, DType t, Device d) {
            const Tensor x = normal({b * tokens, width}, 1, t, d), dy = normal(x.shape(), 4, t, d),
                         w = normal({width}, 2, master(t), d);
            Tensor y(x.shape(), t, d);
            const RowStatistics rows = statistics(b, t, d);
            kernel::layer_norm(y, rows, x, w, w, 1e-5);
            Tensor dx = normal(x.shape(), 5, t, d), dw({width}, master(t), d), db({width}, master(t), d);
            return Work{{dx, dw, db},
                        [=]() mutable { kernel::layer_norm_backward(dx, dw, db, dy, x, w, rows, true); }};
          }};
}

Case quick_gelu_case() {
  return {"quick_gelu", 2.0 * tokens * hidden * 2, 0, [](std::int64_t b, DType t, Device d) {
            const Tensor x = normal({b * tokens, hidden}, 1, t, d);
            Tensor y(x.shape(), t, d);
            return Work{{y}, [=]() mutable { kernel::quick_gelu(y, x); }};
          }};
}

Case quick_gelu_both_case() {
  return {"quick_gelu_both", 4.0 * tokens * hidden * 2, 0, [](std::int64_t b, DType t, Device d) {
            const Tensor x = normal({b * tokens, hidden}, 1, t, d), dy = normal(x.shape(), 2, t, d);
            Tensor y(x.shape(), t, d), dx(x.shape(), t, d);
            return Work{{y, dx}, [=]() mutable {
                          if (on_gpu(d)) return kernel::quick_gelu_both(y, dx, dy, x);
                          kernel::quick_gelu(y, x);
                          kernel::quick_gelu_backward(dx, dy, x);
                        }};
          }};
}

// 2 products forward and 5 backward over 9 neighbours (at the border fewer; not counted).
Case neighbourhood_case(bool backward, const std::string& name = "", const Neighbourhood& n = {{8, 8}}) {
  const std::int64_t all = n.tokens();
  const double pairs = static_cast<double>(tokens * (9 + n.registers) + n.registers * all);
  return {(backward ? "neighbourhood_attention_backward" : "neighbourhood_attention") + name,
          (backward ? 7.0 : 4.0) * static_cast<double>(all) * width * 2,
          (backward ? 5 : 2) * 2.0 * pairs * width, [=](std::int64_t b, DType t, Device d) {
            const Tensor qkv = normal({b, all, 3 * width}, 1, t, d), dout = normal({b, all, width}, 2, t, d);
            Tensor out(backward ? qkv.shape() : dout.shape(), t, d);
            return Work{{out}, [=]() mutable {
                          if (backward)
                            kernel::neighbourhood_attention_backward(out, dout, qkv, heads, n);
                          else
                            kernel::neighbourhood_attention(out, qkv, heads, n);
                        }};
          }};
}

// Of B texts or images of n tokens; all the arithmetic counts, also that of tokens that are not seen.
Case attention_case(bool backward, const std::string& name = "", std::int64_t n = tokens,
                    std::int64_t of_heads = heads, std::int64_t wide = width, bool causal = false) {
  const double products = 2.0 * static_cast<double>(n * n * wide);
  return {(backward ? "attention_backward" : "attention") + name,
          (backward ? 8.0 : 4.0) * static_cast<double>(n * wide) * 2, (backward ? 5 : 2) * products,
          [=](std::int64_t b, DType t, Device d) {
            const Tensor qkv = normal({b, n, 3 * wide}, 1, t, d), dout = normal({b, n, wide}, 2, t, d);
            Tensor out(dout.shape(), t, d), dqkv(qkv.shape(), t, d), lse;
            if (on_gpu(d)) lse = Tensor({b, of_heads, n}, master(t), d);
            kernel::attention(out, lse, qkv, of_heads, causal);
            return Work{{backward ? dqkv : out}, [=]() mutable {
                          if (backward)
                            kernel::attention_backward(dqkv, dout, qkv, out, lse, of_heads, causal);
                          else
                            kernel::attention(out, lse, qkv, of_heads, causal);
                        }};
          }};
}

Case linear_case(std::int64_t in, std::int64_t out, const char* name) {
  return {fmt::format("linear {}", name), 2.0 * tokens * static_cast<double>(in + out),
          2.0 * tokens * static_cast<double>(in * out), [=](std::int64_t b, DType t, Device d) {
            const Tensor x = normal({b * tokens, in}, 1, t, d), w = normal({out, in}, 2, t, d, 0.05),
                         bias = normal({out}, 3, t, d);
            Tensor y({b * tokens, out}, t, d);
            return Work{{y}, [=]() mutable { kernel::linear(y, x, w, bias); }};
          }};
}

Case linear_backward_case(std::int64_t in, std::int64_t out, const char* name) {
  return {fmt::format("linear_backward {}", name), 2.0 * tokens * static_cast<double>(in + out),
          2.0 * tokens * static_cast<double>(in * out), [=](std::int64_t b, DType t, Device d) {
            const Tensor x = normal({b * tokens, in}, 1, t, d), dy = normal({b * tokens, out}, 2, t, d);
            Tensor dw({out, in}, master(t), d), db({out}, master(t), d);
            return Work{{dw, db}, [=]() mutable { kernel::linear_backward(dw, db, dy, x, false); }};
          }};
}

Case patch_pooling_case() {
  return {"patch_pooling", 1.0 * tokens * width * 2, 0, [](std::int64_t b, DType t, Device d) {
            const Tensor x = normal({b, tokens, width}, 1, t, d);
            Tensor scale = Tensor::full({1}, 2, master(t), d);
            Tensor e({b, embedding}, master(t), d), p({b, tokens}, master(t), d), none;
            return Work{{e, p}, [=]() mutable {
                          if (on_gpu(d)) return kernel::patch_pooling(e, p, none, x, scale, heads, 1);
                          const NoGrad no_grad;
                          const composed::PooledPatches out =
                              composed::patch_pooling(Variable(x), Variable(scale), heads);
                          e.copy_from(out.embedding.value());
                          p.copy_from(out.probs.value());
                        }};
          }};
}

Case distillation_loss_case() {
  return {
      "distillation_loss", 3.0 * embedding * 4, 0, [](std::int64_t b, DType t, Device d) {
        const Tensor y = normal({b, embedding}, 1, master(t), d), target = normal(y.shape(), 2, master(t), d);
        Tensor loss({1}, master(t), d), dy(y.shape(), master(t), d);
        return Work{{loss, dy}, [=]() mutable {
                      if (on_gpu(d)) return kernel::distillation_loss(loss, dy, y, target, 20);
                      const Variable v(y, true), l = distillation_loss(v, Variable(target), 20);
                      l.backward();
                      loss.copy_from(l.value());
                      dy.copy_from(v.grad());
                    }};
      }};
}

// The pixels of a batch, as a kernel of bytes to bytes: `bytes` is of that, whatever the precision.
Case augment_case() {
  constexpr std::int64_t whole = 300;
  return {"augment", 3.0 * (whole * whole + 2 * side * side), 0, [](std::int64_t b, DType, Device d) {
            const auto config = data::AugmentConfig::clip();
            Tensor pixels({b, whole, whole, 3}, DType::uint8),
                records({b, data::augmentation_bytes(config)}, DType::uint8);
            for (std::int64_t i = 0; i < pixels.numel(); ++i)
              pixels.data<std::uint8_t>()[i] = static_cast<std::uint8_t>(i * 2654435761U >> 13);
            for (std::int64_t i = 0; i < b; ++i)
              data::write_augmentation(records.rows(i, i + 1).data<std::uint8_t>(), config, whole, whole,
                                       side, static_cast<std::uint64_t>(i) + 1);
            const Tensor images = pixels.to(d), done = records.to(d);
            Tensor views({b, side, side, 3}, DType::uint8, d);
            return Work{{views}, [=]() mutable { kernel::augment(views, images, done); }};
          }};
}

Case image_patches_case() {
  return {"image_patches", 3.0 * side * side * (1 + 2), 0, [](std::int64_t b, DType t, Device d) {
            Tensor pixels({b, side, side, 3}, DType::uint8);
            for (std::int64_t i = 0; i < pixels.numel(); ++i)
              pixels.data<std::uint8_t>()[i] = static_cast<std::uint8_t>(i * 2654435761U >> 13);
            const Tensor there = pixels.to(d);
            Tensor patches({b, tokens, 3 * patch * patch}, t, d);
            return Work{{patches}, [=]() mutable {
                          kernel::image_patches(patches, there, models::clip_statistics, patch);
                        }};
          }};
}

// Independent of the batch: all parameters as one.
Case adamw_case() {
  return {"adamw (all parameters)", 30.0 * parameters, 0, [](std::int64_t, DType t, Device d) {
            const DType m = master(t);
            UpdateItem item{.p = normal({parameters}, 1, m, d),
                            .g = normal({parameters}, 2, m, d),
                            .state = {Tensor::zeros({parameters}, m, d), Tensor::zeros({parameters}, m, d)},
                            .average = {},
                            .copy = {}};
            if (t == DType::bfloat16) item.copy = Tensor({parameters}, t, d);
            Tensor control = Tensor::zeros({update_slots}, DType::float64, d),
                   steps = Tensor::zeros({1}, DType::int64, d);
            return Work{{item.p, item.state[0], item.state[1]}, [=]() mutable {
                          control.rows(0, 1).fill(1e-3);
                          const std::vector<Tensor> gradients{item.g};
                          kernel::sum_of_squares(control, gradients);
                          const std::vector<UpdateItem> items{item};
                          kernel::begin_update(control, steps, items, 1);
                          kernel::adamw(items, control, steps, {}, 0);
                        }};
          }};
}

std::vector<Case> all_cases() {
  return {augment_case(),
          image_patches_case(),
          layer_norm_case(),
          add_layer_norm_case(),
          layer_norm_backward_case(),
          neighbourhood_case(false),
          neighbourhood_case(true),
          neighbourhood_case(false, "_dilated", {.grid = {8, 8}, .dilation = 2}),
          neighbourhood_case(true, "_dilated", {.grid = {8, 8}, .dilation = 2}),
          neighbourhood_case(false, "_registers", {.grid = {8, 8}, .registers = 4}),
          neighbourhood_case(true, "_registers", {.grid = {8, 8}, .registers = 4}),
          attention_case(false),
          attention_case(true),
          attention_case(false, " causal 77 x 512", 77, 8, 512, true),
          attention_case(true, " causal 77 x 512", 77, 8, 512, true),
          attention_case(false, " causal 32 x 128", 32, 2, 128, true),
          attention_case(true, " causal 32 x 128", 32, 2, 128, true),
          quick_gelu_case(),
          quick_gelu_both_case(),
          linear_case(width, 3 * width, "528 -> 1584"),
          linear_case(width, width, "528 -> 528"),
          linear_case(width, hidden, "528 -> 2112"),
          linear_case(hidden, width, "2112 -> 528"),
          linear_backward_case(width, 3 * width, "528 -> 1584"),
          linear_backward_case(width, width, "528 -> 528"),
          linear_backward_case(width, hidden, "528 -> 2112"),
          linear_backward_case(hidden, width, "2112 -> 528"),
          patch_pooling_case(),
          distillation_loss_case(),
          adamw_case()};
}

// The largest difference to the CPU's float32 result, relative to the largest value, over all outputs.
double error_of(const Case& c, DType dtype, Device device) {
  const Work here = c.make(2, DType::float32, cpu), there = c.make(2, dtype, device);
  here.run();
  there.run();
  double worst = 0;
  for (std::size_t i = 0; i < here.outputs.size(); ++i) {
    const auto a = here.outputs[i].to_vector(), b = there.outputs[i].to_vector();
    double most = 1e-30, difference = 0;
    for (std::size_t k = 0; k < a.size(); ++k) {
      most = std::max(most, std::abs(a[k]));
      difference = std::max(difference, std::isfinite(b[k]) ? std::abs(a[k] - b[k]) : INFINITY);
    }
    worst = std::max(worst, difference / most);
  }
  return worst;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Times each fused kernel of a training step."};
  std::string device_name = "cuda", precision = "bf16", only;
  std::vector<std::int64_t> batches{256, 1024, 4096};
  bool json = false;
  app.add_option("--device", device_name)->capture_default_str();
  app.add_option("--precision", precision, "fp32, tf32 or bf16")
      ->capture_default_str()
      ->check(CLI::IsMember({"fp32", "tf32", "bf16"}));
  app.add_option("--batch", batches, "images")->capture_default_str();
  app.add_option("--only", only, "cases whose name holds this");
  app.add_flag("--json", json, "a JSON object a line");
  CLI11_PARSE(app, argc, argv);
  int failures = 0;
  try {
    const Device device = parse_device(device_name);
    const DType dtype = precision == "bf16" ? DType::bfloat16 : DType::float32;
    const double size = precision == "bf16" ? 1 : 2, most = precision == "fp32" ? 1e-4 : 3e-2;
    set_matmul_precision(precision == "tf32" ? MatmulPrecision::tf32 : MatmulPrecision::float32);
    if (!json) {
      fmt::print("{}, {}\n", backend(device.kind).name(device.index), precision);
      fmt::print("{:34} {:>8} {:>6} {:>10} {:>9} {:>9}\n", "", "error", "batch", "us", "GB/s", "TFLOP/s");
    }
    for (const Case& c : all_cases()) {
      if (c.name.find(only) == std::string::npos) continue;
      const double error = error_of(c, dtype, device);
      if (!(error <= most)) ++failures;
      const bool whole = c.name.find("all parameters") != std::string::npos;
      for (const std::int64_t batch : whole ? std::vector<std::int64_t>{1} : batches) {
        const Work work = c.make(batch, dtype, device);
        const double seconds = bench::seconds_of(device, work.run), images = static_cast<double>(batch),
                     gb = images * c.bytes * (whole ? 1 : size) / seconds / 1e9,
                     tflops = images * c.flops / seconds / 1e12;
        if (json)
          fmt::print(
              "{{\"kernel\": \"{}\", \"batch\": {}, \"error\": {:.3g}, \"right\": {}, \"us\": {:.2f}, "
              "\"gb_per_second\": {:.1f}, \"tflops\": {:.2f}}}\n",
              c.name, batch, error, error <= most, 1e6 * seconds, gb, tflops);
        else
          fmt::print("{:34} {:>8.1e} {:>6} {:>10.1f} {:>9.1f} {:>9.2f}{}\n", c.name, error, batch,
                     1e6 * seconds, gb, tflops, error <= most ? "" : "  WRONG");
        std::fflush(stdout);
      }
      release_cached(device);
    }
  } catch (const Error& e) {
    std::fprintf(stderr, "bench_kernels: %s\n", e.what());
    return 1;
  }
  if (failures > 0) std::fprintf(stderr, "bench_kernels: %d kernels are wrong\n", failures);
  return failures > 0 ? 1 : 0;
}
