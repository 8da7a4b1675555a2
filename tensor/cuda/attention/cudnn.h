// Full attention by cuDNN (contract: tensor/ops/attention.h), in bfloat16 on tensor cores. For long sequences
// and the usual head sizes; our own kernel (tensor/cuda/attention/attention.cu) is what it falls back to and
// is checked against.
#pragma once
#include "tensor/tensor.h"

namespace vitral::cuda {

/// Both queue their work and answer true, or answer false where cuDNN cannot do it here (another dtype, a
/// size or a GPU without a kernel of it, a cuDNN that is too old or incomplete); then nothing was queued. lse
/// may be undefined. Heads whose size is no multiple of 8 are padded in scratch memory.
bool cudnn_attention(Tensor& out, Tensor& lse, const Tensor& qkv, std::int64_t heads);
/// The same bits in every run: kernels that add up in any order are not taken.
bool cudnn_attention_backward(Tensor& dqkv, const Tensor& dout, const Tensor& qkv, const Tensor& out,
                              const Tensor& lse, std::int64_t heads);

}  // namespace vitral::cuda
