// The matrix products of the student's training and of CLIP's, each with all of cuBLASLt's algorithms: time,
// rate, tile, stages, split of K; the gradient of a bias made by the product (BGRADB) beside a pass of its
// own; and QuickGELU made by a product of cuDNN's beside a pass of its own.
//
//   build/tests/bench_cublaslt [--batch 2048] [--only "student c_fc"] [--json] [--small]
//
// Results come as they are measured. --json prints one object a line: "what": "algorithm" for each algorithm
// of each product, "what": "product" when a product is done, with the first proposal and the fastest, "what":
// "bias gradient" for a layer's, "activation" for an MLP's. train.products keeps the same choices for
// training.
#include <cstdio>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/random.h"
#include "tensor/backend.h"
#include "tensor/ops/gemm.h"
#include "tensor/ops/linear.h"
#include "tensor/ops/products.h"
#include "tensor/ops/reduce.h"
#include "tests/bench/timing.h"
#include "tests/tensor/product_choices.h"

namespace {

using namespace vitral;
using nlohmann::ordered_json;

struct Layer {
  std::string model, name;
  std::int64_t rows, in, out;  // y [rows,out] = x [rows,in] weight^T
  bool biased;
};

struct Sizes {
  std::int64_t batch = 2048, width = 528, image_width = 768, text_width = 512;
};

std::vector<Layer> layers(const Sizes& s) {
  std::vector<Layer> out{{"student", "patches", s.batch * 64, 3L * 28 * 28, s.width, false}};
  for (const auto& [model, tokens, w] : {std::tuple{"student", 64, s.width},
                                         {"clip-image", 50, s.image_width},
                                         {"clip-text", 77, s.text_width}})
    for (const auto& [name, in, wide] :
         {std::tuple{"in_proj", w, 3 * w}, {"out_proj", w, w}, {"c_fc", w, 4 * w}, {"c_proj", 4 * w, w}})
      out.push_back({model, name, s.batch * tokens, in, wide, true});
  return out;
}

/// Numbers as those of activations: what is multiplied decides how fast a GPU may run.
Tensor random_values(const Shape& shape, DType dtype, Device device) {
  constexpr std::int64_t piece = 1 << 16;
  Tensor host({piece});
  Random random(1);
  for (std::int64_t i = 0; i < piece; ++i) host.data<float>()[i] = static_cast<float>(random.normal());
  const Tensor values = host.cast(dtype).to(device);
  Tensor out({shape.numel()}, dtype, device);
  for (std::int64_t begin = 0; begin < out.numel(); begin += piece) {
    const std::int64_t n = std::min(piece, out.numel() - begin);
    out.rows(begin, begin + n).copy_from(values.rows(0, n));
  }
  return out.reshape(shape);
}

const char* name_of(Epilogue epilogue) {
  return epilogue == Epilogue::bias ? "bias" : epilogue == Epilogue::sum_of_a ? "bias gradient" : "none";
}

class Bench {
 public:
  Bench(Device device, DType inputs, bool json, std::string only)
      : device_(device), inputs_(inputs), json_(json), only_(std::move(only)) {}

  void header() const {
    if (!json_)
      fmt::print("{:52} {:>24} {:>10} {:>10} {:>6} {:>8}  {}\n", "", "m, n, k", "first us", "best us", "gain",
                 "TFLOP/s", "best");
  }

  void layer(const Layer& l) {
    if ((l.model + " " + l.name).find(only_) == std::string::npos) return;
    const DType master = inputs_ == DType::bfloat16 ? DType::float32 : inputs_;
    const Tensor x = random_values({l.rows, l.in}, inputs_, device_),
                 dy = random_values({l.rows, l.out}, inputs_, device_),
                 weight = random_values({l.out, l.in}, inputs_, device_);
    {
      Tensor y({l.rows, l.out}, inputs_, device_), bias = random_values({l.out}, inputs_, device_), none;
      const Product forward{.m = l.rows, .n = l.out, .k = l.in, .transpose_b = true};
      product(l, "forward", forward, Epilogue::none, y, none, x, weight);
      if (l.biased) product(l, "forward", forward, Epilogue::bias, y, bias, x, weight);
    }
    if (l.name != "patches") {  // pixels have no gradient
      Tensor dx({l.rows, l.in}, inputs_, device_), none;
      product(l, "gradient of x", {.m = l.rows, .n = l.in, .k = l.out}, Epilogue::none, dx, none, dy, weight);
    }
    Tensor dweight({l.out, l.in}, master, device_), dbias({l.out}, master, device_), none;
    const Product backward{.m = l.out, .n = l.in, .k = l.rows, .transpose_a = true};
    const double plain = product(l, "gradient of weight", backward, Epilogue::none, dweight, none, dy, x);
    if (!l.biased) return;
    const double with_sums =
        product(l, "gradient of weight", backward, Epilogue::sum_of_a, dweight, dbias, dy, x);
    const double sums = bench::seconds_of(device_, [&] {
      kernel::sum_axis(dbias, dy, {1, l.rows, l.out}, 1);
    });
    bias_gradient(l, with_sums, plain, sums);
  }

  /// Of the MLP between these two layers, c_fc and c_proj.
  void mlp(const Layer& fc, const Layer& proj) {
    if (inputs_ != DType::bfloat16 || (fc.model + " quick_gelu").find(only_) == std::string::npos) return;
    const auto choices = std::make_shared<test::Choices>(device_);
    set_product_choices(choices);
    const Tensor x = random_values({fc.rows, fc.in}, inputs_, device_),
                 w = random_values({fc.out, fc.in}, inputs_, device_),
                 b = random_values({fc.out}, inputs_, device_),
                 dy = random_values({fc.rows, proj.out}, inputs_, device_),
                 back = random_values({proj.out, proj.in}, inputs_, device_);
    Tensor h({fc.rows, fc.out}, inputs_, device_), a(h.shape(), inputs_, device_),
        dh(h.shape(), inputs_, device_), dweight(back.shape(), DType::float32, device_), none;
    kernel::linear_activation(h, a, x, w, b, activations::quick_gelu);
    kernel::activation_linear_backward(dh, dweight, none, dy, h, a, back, activations::quick_gelu, false);
    set_product_choices(nullptr);
    for (const auto& [key, choice] : choices->all) {
      if (key.product.epilogue == Epilogue::quick_gelu) activation(fc, "forward", choice);
      if (key.product.epilogue == Epilogue::quick_gelu_gradient) activation(fc, "backward", choice);
    }
  }

 private:
  static ordered_json entry(const char* what, const Layer& l, const char* pass) {
    return {{"what", what}, {"model", l.model}, {"layer", l.name}, {"pass", pass}};
  }
  static void put(const ordered_json& line) {
    fmt::print("{}\n", line.dump());
    std::fflush(stdout);
  }
  static double tflops(const Product& p, double seconds) {
    return 2 * static_cast<double>(p.m) * static_cast<double>(p.n) * static_cast<double>(p.k) / seconds /
           1e12;
  }

  ordered_json sizes(const char* what, const Layer& l, const char* pass, const Product& p) const {
    ordered_json line = entry(what, l, pass);
    line.update(
        {{"m", p.m}, {"n", p.n}, {"k", p.k}, {"inputs", name(inputs_)}, {"epilogue", name_of(p.epilogue)}});
    return line;
  }

  /// Seconds of the fastest algorithm; 0 where the library has none.
  double product(const Layer& l, const char* pass, Product p, Epilogue epilogue, Tensor& c, Tensor& vector,
                 const Tensor& a, const Tensor& b) {
    p.epilogue = epilogue;
    MeasuredProduct first, best;
    int count = 0;
    try {
      kernel::measure_product(c, vector, a, b, p, [&](const MeasuredProduct& m) {
        if (count++ == 0) first = best = m;
        if (m.seconds < best.seconds) best = m;
        if (json_) algorithm(l, pass, p, m, count);
      });
    } catch (const UsageError&) {
      throw;
    } catch (const Error& e) {  // an epilogue that it does not have
      std::fprintf(stderr, "bench_cublaslt: %s %s, %s: %s\n", l.model.c_str(), l.name.c_str(), pass,
                   e.what());
      return 0;
    }
    if (json_) {
      ordered_json line = sizes("product", l, pass, p);
      line.update({{"algorithms", count},
                   {"first_microseconds", 1e6 * first.seconds},
                   {"best_microseconds", 1e6 * best.seconds},
                   {"tflops", tflops(p, best.seconds)},
                   {"best", describe(best.algorithm)}});
      put(line);
    } else {
      const std::string label =
          fmt::format("{} {}, {}{}", l.model, l.name, pass,
                      epilogue == Epilogue::none ? "" : fmt::format(" + {}", name_of(epilogue)));
      fmt::print("{:52} {:>24} {:>10.1f} {:>10.1f} {:>6.2f} {:>8.1f}  {}\n", label,
                 fmt::format("{}, {}, {}", p.m, p.n, p.k), 1e6 * first.seconds, 1e6 * best.seconds,
                 first.seconds / best.seconds, tflops(p, best.seconds), describe(best.algorithm));
      std::fflush(stdout);
    }
    return best.seconds;
  }

  void algorithm(const Layer& l, const char* pass, const Product& p, const MeasuredProduct& m,
                 int number) const {
    ordered_json line = sizes("algorithm", l, pass, p);
    line.update({{"number", number},
                 {"microseconds", 1e6 * m.seconds},
                 {"tflops", tflops(p, m.seconds)},
                 {"id", m.algorithm.id},
                 {"tile", tile_name(m.algorithm.tile)},
                 {"stages", stages_name(m.algorithm.stages)},
                 {"split_k", m.algorithm.split_k},
                 {"reduction", reduction_name(m.algorithm.reduction)},
                 {"swizzle", m.algorithm.swizzle},
                 {"custom", m.algorithm.custom},
                 {"cluster_shape", m.algorithm.cluster_shape},
                 {"workspace", m.workspace}});
    put(line);
  }

  void bias_gradient(const Layer& l, double with_sums, double plain, double sums) const {
    if (json_) {
      ordered_json line = entry("bias gradient", l, "gradient of weight");
      line.update(
          {{"by_product_microseconds", with_sums > 0 ? ordered_json(1e6 * with_sums) : ordered_json()},
           {"product_microseconds", 1e6 * plain},
           {"pass_microseconds", 1e6 * sums}});
      return put(line);
    }
    fmt::print("{:52} by the product {} us, product and pass {:.1f} + {:.1f} us\n",
               fmt::format("{} {}, gradient of bias", l.model, l.name),
               with_sums > 0 ? fmt::format("{:.1f}", 1e6 * with_sums) : "-", 1e6 * plain, 1e6 * sums);
    std::fflush(stdout);
  }

  void activation(const Layer& l, const char* pass, const ProductChoice& choice) const {
    if (json_) {
      ordered_json line = entry("activation", l, pass);
      line.update({{"apart_microseconds", choice.first_microseconds},
                   {"best_microseconds", choice.microseconds},
                   {"best", describe(choice.algorithm)}});
      return put(line);
    }
    fmt::print("{:52} {:.1f} us apart, {:.1f} us by {}\n", fmt::format("{} quick_gelu, {}", l.model, pass),
               choice.first_microseconds, choice.microseconds, describe(choice.algorithm));
    std::fflush(stdout);
  }

  Device device_;
  DType inputs_;
  bool json_;
  std::string only_;
};

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Times the products of training with each algorithm of cuBLASLt."};
  std::string device_name = "cuda", precision = "bf16", only;
  Sizes sizes;
  bool json = false, small = false;
  app.add_option("--device", device_name)->capture_default_str();
  app.add_option("--precision", precision, "fp32, tf32 or bf16")
      ->capture_default_str()
      ->check(CLI::IsMember({"fp32", "tf32", "bf16"}));
  app.add_option("--batch", sizes.batch, "images")->capture_default_str()->check(CLI::Range(1, 1 << 20));
  app.add_option("--only", only, "layers whose name holds this: student c_fc");
  app.add_flag("--json", json, "one object a line");
  app.add_flag("--small", small, "tiny sizes, for a try on the simulator of the tests");
  CLI11_PARSE(app, argc, argv);
  if (small) sizes = {.batch = 1, .width = 16, .image_width = 16, .text_width = 16};
  try {
    const Device device = parse_device(device_name);
    if (!kernel::measure_product.implemented(device.kind))
      throw UsageError("--device " + device_name + ": only a GPU has algorithms to choose from");
    set_matmul_precision(precision == "tf32" ? MatmulPrecision::tf32 : MatmulPrecision::float32);
    if (!json) fmt::print("{}, {}\n", backend(device.kind).multiplier(device.index), precision);
    Bench bench(device, precision == "bf16" ? DType::bfloat16 : DType::float32, json, only);
    bench.header();
    const std::vector<Layer> all = layers(sizes);
    for (std::size_t i = 0; i < all.size(); ++i) {
      bench.layer(all[i]);
      if (all[i].name == "c_proj") bench.mlp(all[i - 1], all[i]);
      release_cached(device);
    }
  } catch (const UsageError& e) {
    std::fprintf(stderr, "bench_cublaslt: %s\n", e.what());
    return 2;
  } catch (const Error& e) {
    std::fprintf(stderr, "bench_cublaslt: %s\n", e.what());
    return 1;
  }
  return 0;
}
