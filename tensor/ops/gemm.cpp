#include "tensor/ops/gemm.h"

#include <atomic>

namespace vitral {
namespace {

constinit std::atomic<MatmulPrecision> chosen{MatmulPrecision::float32};

}  // namespace

void set_matmul_precision(MatmulPrecision precision) { chosen = precision; }
MatmulPrecision matmul_precision() { return chosen; }

}  // namespace vitral
