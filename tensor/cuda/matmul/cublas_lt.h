// The functions of cuBLASLt.
#pragma once
#include <cublasLt.h>

#include "tensor/cuda/library.h"

namespace vitral::cuda {

#if CUBLAS_VER_MAJOR == 12
#define VITRAL_CUBLAS_PACKAGE "nvidia-cublas-cu12"
#else
#define VITRAL_CUBLAS_PACKAGE "nvidia-cublas"
#endif

struct CublasLt {
  VITRAL_CUDA_LIBRARY("cuBLASLt", "libcublasLt.so." VITRAL_STRING(CUBLAS_VER_MAJOR), VITRAL_CUBLAS_PACKAGE);
  VITRAL_CUDA_FUNCTION(cublasLtCreate);
  VITRAL_CUDA_FUNCTION(cublasLtGetStatusName);
  VITRAL_CUDA_FUNCTION(cublasLtGetVersion);
  VITRAL_CUDA_FUNCTION(cublasLtMatmul);
  VITRAL_CUDA_FUNCTION(cublasLtMatmulAlgoCapGetAttribute);
  VITRAL_CUDA_FUNCTION(cublasLtMatmulAlgoCheck);
  VITRAL_CUDA_FUNCTION(cublasLtMatmulAlgoConfigGetAttribute);
  VITRAL_CUDA_FUNCTION(cublasLtMatmulAlgoConfigSetAttribute);
  VITRAL_CUDA_FUNCTION(cublasLtMatmulAlgoGetHeuristic);
  VITRAL_CUDA_FUNCTION(cublasLtMatmulAlgoInit);
  VITRAL_CUDA_FUNCTION(cublasLtMatmulDescCreate);
  VITRAL_CUDA_FUNCTION(cublasLtMatmulDescDestroy);
  VITRAL_CUDA_FUNCTION(cublasLtMatmulDescSetAttribute);
  VITRAL_CUDA_FUNCTION(cublasLtMatmulPreferenceCreate);
  VITRAL_CUDA_FUNCTION(cublasLtMatmulPreferenceDestroy);
  VITRAL_CUDA_FUNCTION(cublasLtMatmulPreferenceSetAttribute);
  VITRAL_CUDA_FUNCTION(cublasLtMatrixLayoutCreate);
  VITRAL_CUDA_FUNCTION(cublasLtMatrixLayoutDestroy);
  VITRAL_CUDA_FUNCTION(cublasLtMatrixLayoutSetAttribute);
};

/// Loaded at the first call. Error: it is not installed.
inline const CublasLt& cublas_lt() {
  static const CublasLt functions;
  return functions;
}

}  // namespace vitral::cuda
