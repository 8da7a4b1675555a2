#include <algorithm>
#include <array>
#include <set>

#include "tensor/cuda/matmul/measure.h"
#include "tensor/stream.h"

namespace vitral::cuda {
namespace {

constexpr int most_forced = 64;

// The model's widths are 528, 1584 and 2112, multiples of 176: tiles of 128 leave up to 18 % of their columns
// empty. cuBLASLt may have such tiles and not propose them.
struct Tile {
  std::uint32_t id;
  std::int64_t rows, columns;  // of cuBLASLt's result, which is ours transposed
};
#if CUBLAS_VERSION >= 130000  // the header of CUDA 12 names fewer
constexpr Tile forced_tiles[]{{CUBLASLT_MATMUL_TILE_128x176, 128, 176},
                              {CUBLASLT_MATMUL_TILE_176x128, 176, 128},
                              {CUBLASLT_MATMUL_TILE_192x176, 192, 176},
                              {CUBLASLT_MATMUL_TILE_256x176, 256, 176}};
#else
constexpr std::array<Tile, 0> forced_tiles{};
#endif

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

/// In how many parts K may be cut: until two blocks a multiprocessor have something to do, and no part is
/// shorter than 512.
std::vector<std::int64_t> splits(const Tile& tile, const Product& p, int multiprocessors) {
  const std::int64_t blocks = ceil_div(p.n, tile.rows) * ceil_div(p.m, tile.columns) * p.batch;
  std::vector<std::int64_t> out{1};
  for (const std::int64_t parts : {2, 3, 4, 5, 6, 8, 12, 16, 24, 32})
    if (blocks * parts <= 2 * multiprocessors && p.k / parts >= 512) out.push_back(parts);
  return out;
}

/// Collects candidates, each once.
class Collection {
 public:
  Collection(const Plan& plan, const ProductKey& key, Device device)
      : plan_(plan), key_(key), multiprocessors_(limits(device).multiprocessors) {}

  cublasStatus_t collect() {
    // The one that is taken without measuring comes first, as it is.
    std::vector<Candidate> proposed;
    const cublasStatus_t status = plan_.propose(1, first_reductions, proposed);
    if (status != CUBLAS_STATUS_SUCCESS) return status;
    known_.insert(attributes_of(proposed.front().algorithm));
    all_.push_back(proposed.front());
    if (plan_.propose(Plan::most_proposals, exact_reductions(key_), proposed) == CUBLAS_STATUS_SUCCESS)
      for (const Candidate& c : proposed) add(c.algorithm);
    force_tiles();
    return status;
  }
  const std::vector<Candidate>& all() const { return all_; }

 private:
  // As it comes out of its attributes, which are what is kept: cublasLtMatmulAlgo_t may hold more than they
  // say. False where it is known, or cannot be had so.
  bool add(const cublasLtMatmulAlgo_t& algorithm) {
    const ProductAlgorithm attributes = attributes_of(algorithm);
    Candidate rebuilt;
    if (!known_.insert(attributes).second || plan_.rebuild(attributes, rebuilt) != CUBLAS_STATUS_SUCCESS)
      return false;
    all_.push_back(rebuilt);
    return true;
  }

  // Each proposal with other tiles and splits of K, but otherwise as the library has set it.
  void force_tiles() {
    const std::vector<Candidate> proposed = all_;
    std::set<ProductAlgorithm> forms;
    for (const Candidate& c : proposed) {
      ProductAlgorithm form = attributes_of(c.algorithm);
      form.tile = form.reduction = 0;
      form.split_k = 1;
      if (!forms.insert(form).second) continue;
      const Capabilities can = capabilities_of(c.algorithm);
      for (const Tile& tile : forced_tiles)
        if (std::find(can.tiles.begin(), can.tiles.end(), tile.id) != can.tiles.end())
          force_tile(c.algorithm, form, tile, can);
    }
  }

  void force_tile(cublasLtMatmulAlgo_t algorithm, ProductAlgorithm form, const Tile& tile,
                  const Capabilities& can) {
    form.tile = tile.id;
    for (const std::int64_t parts : splits(tile, key_.product, multiprocessors_))
      for (const std::uint32_t reduction : {std::uint32_t{CUBLASLT_REDUCTION_SCHEME_NONE},
                                            std::uint32_t{CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE},
                                            std::uint32_t{CUBLASLT_REDUCTION_SCHEME_OUTPUT_TYPE}}) {
        const bool is_split = parts > 1;
        if (is_split != (reduction != CUBLASLT_REDUCTION_SCHEME_NONE) || (is_split && !can.splits_k) ||
            (reduction & ~(can.reductions & exact_reductions(key_))) != 0)
          continue;
        form.split_k = parts;
        form.reduction = reduction;
        if (forced_ < most_forced && set_attributes(algorithm, form) == CUBLAS_STATUS_SUCCESS &&
            add(algorithm))
          ++forced_;
      }
  }

  const Plan& plan_;
  const ProductKey& key_;
  int multiprocessors_;
  std::vector<Candidate> all_;
  std::set<ProductAlgorithm> known_;
  int forced_ = 0;
};

void measure_product(Tensor& c, Tensor& vector, const Tensor& a, const Tensor& b, const Product& product,
                     const std::function<void(const MeasuredProduct&)>& each) {
  constexpr const char* operation = "measure_product";
  const ProductKey key = key_of(operation, product, c, a, b, vector);
  const Plan plan(operation, key, c.device(), data<void>(vector));
  check_blas(measure(plan, key, {c, a, b, vector},
                     [&](const Candidate& candidate, double seconds, bool) {
                       each({.algorithm = attributes_of(candidate.algorithm),
                             .workspace = static_cast<std::int64_t>(candidate.workspace),
                             .seconds = seconds});
                     }),
             operation, key);
}

const bool implemented = kernel::measure_product.implement(Device::Kind::cuda, measure_product);

}  // namespace

bool may_measure(const char* operation, Device device) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  check(cudaStreamIsCapturing(stream(device), &status), operation);
  return status == cudaStreamCaptureStatusNone;
}

double seconds_of(Device device, const std::function<bool()>& start, double best) {
  Event begin(device), end(device);
  const auto round = [&](int calls) {
    begin.record(Queue::compute);
    for (int i = 0; i < calls; ++i) start();
    end.record(Queue::compute);
    end.wait();
    return end.seconds_since(begin) / calls;
  };
  if (!start()) {        // this one also loads the kernel
    cudaGetLastError();  // of the launch that failed: the next one must not find it
    return -1;
  }
  double least = round(1);
  if (best > 0 && least > 1.25 * best) return least;
  constexpr double long_enough = 1e-3;
  const int calls = static_cast<int>(std::clamp(long_enough / std::max(least, 1e-7), 1.0, 20.0));
  for (int i = 0; i < 3; ++i) least = std::min(least, round(calls));
  return least;
}

cublasStatus_t measure(const Plan& plan, const ProductKey& key, const Operands& operands,
                       const std::function<void(const Candidate&, double, bool)>& each) {
  const Device device = operands.c.device();
  Collection collection(plan, key, device);
  const cublasStatus_t status = collection.collect();
  if (status != CUBLAS_STATUS_SUCCESS) return status;
  std::size_t most = 0;
  for (const Candidate& c : collection.all()) most = std::max(most, c.workspace);
  Tensor workspace;
  if (most > 0) workspace = Tensor({static_cast<std::int64_t>(most)}, DType::uint8, device);
  double best = -1;
  for (const Candidate& c : collection.all()) {
    const auto start = [&] { return plan.start(c, operands, workspace) == CUBLAS_STATUS_SUCCESS; };
    const double seconds = seconds_of(device, start, best);
    if (seconds < 0) continue;
    if (best < 0 || seconds < best) best = seconds;
    each(c, seconds, &c == &collection.all().front());
  }
  return best < 0 ? CUBLAS_STATUS_NOT_SUPPORTED : CUBLAS_STATUS_SUCCESS;
}

}  // namespace vitral::cuda
