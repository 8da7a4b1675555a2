// Time of embedding images (pixels in, embeddings out, nothing recorded for a backward): images a second,
// share of the device's own matrix rate at the same shapes, memory, and what the first one takes.
//
//   build/tests/bench_inference --batch 1 --steps 50                          the 21.4M student on the CPU
//   build/tests/bench_inference --batch 64 --precision bf16
//   build/tests/bench_inference --batch 64 --precision int8
//   build/tests/bench_inference --onnx student.onnx                           writes that student for other
//   engines
#include <algorithm>
#include <cstdio>
#include <optional>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "models/precision.h"
#include "models/student/onnx_export.h"
#include "tensor/backend.h"
#include "tensor/ops/gemm.h"
#include "tests/bench/process.h"
#include "tests/bench/products.h"
#include "tests/bench/profile.h"
#include "tests/bench/student.h"

namespace {

using namespace vitral;

struct Arguments {
  train::Config config;
  int steps = 10, warmup = 3;
  bool json = false, profile = false;
  std::string onnx;
};

struct Measured {
  double first = 0;              // seconds from the start of the process to the end of the first call
  double median = 0, least = 0;  // seconds of a call
  double resident = 0, tensors = 0, reserved = 0;  // 1e9 bytes: of the process; at the peak, on the device
};

// products: the dtype that they read.
Measured measure(const Arguments& a, Device device, DType products) {
  const train::Config& config = a.config;
  const DType dtype = products == DType::int8 ? DType::float32 : products;
  models::Student student(config.model);
  if (products == DType::int8) student.quantize_weights();
  student.to(device);
  student.keep_copies(dtype);
  student.pack_weights();
  const Tensor images = bench::noise(config.train.batch_size, config.model.image_size);
  const NoGrad no_grad;
  Measured m;
  std::vector<double> seconds;
  const auto embed = [&] {
    const Variable patches = models::pixel_patches(config.model, images.to(device), dtype);
    return student.embed(patches).value().to(cpu);
  };
  if (a.profile) {
    bench::print_profile(a.warmup, a.steps, embed);
    return m;
  }
  for (int i = 0; i < a.warmup + a.steps; ++i) {
    const double start = bench::now();
    embed();
    if (i == 0) m.first = bench::seconds_since_start();
    if (i >= a.warmup) seconds.push_back(bench::now() - start);
  }
  std::sort(seconds.begin(), seconds.end());
  m.median = seconds[seconds.size() / 2];
  m.least = seconds.front();
  m.resident = bench::peak_resident_gb();
  m.tensors = static_cast<double>(allocator_stats(device).peak_in_use) / 1e9;
  m.reserved = static_cast<double>(allocator_stats(device).bytes_reserved) / 1e9;
  return m;
}

void run(const Arguments& a) {
  const train::Config& config = a.config;
  const Device device = parse_device(config.train.device);
  const DType dtype = config.train.precision == "bf16"   ? DType::bfloat16
                      : config.train.precision == "int8" ? DType::int8
                                                         : DType::float32;
  if (dtype != DType::int8)
    models::check_precision(config.train.precision, device, "--precision");
  else
    VITRAL_CHECK(device.is_cpu(),
                 "--precision: int8 is computed on the CPU; on a GPU int8 weights become float32");
  if (config.train.precision == "tf32") set_matmul_precision(MatmulPrecision::tf32);
  const Measured m = measure(a, device, dtype);
  if (a.profile) return;
  release_cached(device);

  const double batch = config.train.batch_size, rate = batch / m.median;
  const double products =
      bench::product_seconds(config.model, config.train.batch_size, bench::Products::forward, dtype, device);
  const double tflops =
      bench::product_flops(config.model, bench::Products::forward) * batch / products / 1e12;
  const std::string name = backend(device.kind).name(device.index);
  if (a.json) {
    fmt::print(
        "{{\"seconds_median\": {:.6f}, \"seconds_min\": {:.6f}, \"images_per_second\": {:.3f}, \"batch\": "
        "{}, \"device\": \"{}\", \"precision\": \"{}\", \"threads\": {}, \"product_seconds\": {:.6f}, "
        "\"matrix_tflops\": {:.6f}, \"share_of_matrix_rate\": {:.4f}, \"peak_rss_gb\": {:.3f}, "
        "\"peak_tensors_gb\": {:.3f}, \"reserved_gb\": {:.3f}, "
        "\"seconds_to_first\": {:.3f}}}\n",
        m.median, m.least, rate, config.train.batch_size, name, config.train.precision, cpu_threads(),
        products, tflops, products / m.median, m.resident, m.tensors, m.reserved, m.first);
    return;
  }
  fmt::print("batch {}, {}, {} ({} threads)\n", config.train.batch_size, config.train.precision, name,
             cpu_threads());
  fmt::print("  embedding         {:.5f} s median, {:.5f} s best: {:.1f} images/s\n", m.median, m.least,
             rate);
  fmt::print("  products alone    {:.5f} s, {:.3f} TFLOP/s: {:.1f} % of the matrix rate\n", products, tflops,
             100 * products / m.median);
  fmt::print("  process           {:.2f} s from its start to the first embedding, {:.2f} GB resident\n",
             m.first, m.resident);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Times the student's embedding of images."};
  Arguments a;
  bench::add_options(app, a.config, {"int8"});
  app.add_option("--steps", a.steps, "timed calls")->capture_default_str()->check(CLI::PositiveNumber);
  app.add_option("--warmup", a.warmup, "calls before")->capture_default_str()->check(CLI::NonNegativeNumber);
  app.add_flag("--json", a.json, "one JSON line");
  app.add_flag("--profile", a.profile, "instead: where its time goes, a JSON object a line");
  app.add_option("--onnx", a.onnx, "writes the student as an ONNX model, and measures nothing");
  CLI11_PARSE(app, argc, argv);
  try {
    if (a.onnx.empty())
      run(a);
    else
      models::export_onnx(a.onnx, models::Student(a.config.model));
  } catch (const Error& e) {
    std::fprintf(stderr, "bench_inference: %s\n", e.what());
    return 1;
  }
  return 0;
}
