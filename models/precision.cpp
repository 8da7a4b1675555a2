#include "models/precision.h"

#include "base/error.h"
#include "tensor/ops/gemm.h"

namespace vitral::models {

void check_precision(const std::string& precision, Device device, const std::string& where,
                     const std::string& why_cpu) {
  VITRAL_CHECK(precision == "fp32" || precision == "tf32" || precision == "bf16",
               "{}: must be fp32, tf32 or bf16, not {}", where, precision);
  if (!device.is_cpu()) return;
  const std::string reason = why_cpu.empty() ? "" : " (" + why_cpu + ")";
  VITRAL_CHECK(precision != "tf32", "{}: tf32 needs a GPU, on the CPU choose fp32{}", where, reason);
  VITRAL_CHECK(
      precision != "bf16" || cpu_has_bfloat16(),
      "{}: bf16 needs a GPU, or a processor with AVX512_BF16 or AMX in a build with oneDNN; choose fp32{}",
      where, reason);
}

DType use_precision(const std::string& precision) {
  set_matmul_precision(precision == "tf32" ? MatmulPrecision::tf32 : MatmulPrecision::float32);
  return precision == "bf16" ? DType::bfloat16 : DType::float32;
}

}  // namespace vitral::models
