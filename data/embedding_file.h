// Embeddings that other programs have made: NumPy's .npy and .npz, clip-retrieval's folders, HDF5 under any
// name.
#pragma once
#include <string>
#include <vector>

#include "tensor/tensor.h"

namespace vitral::data {

struct EmbeddingFile {
  Tensor rows;                     // [N,D] float32 or float16, as stored (float64 becomes float32)
  std::vector<std::string> names;  // [N], of an HDF5 file with /names, or none
};

/// path: .npy; .npz; a folder of img_emb_0.npy, img_emb_1.npy ..., or one that holds it as img_emb/; HDF5.
/// name: which array of an .npz or dataset of an HDF5 file; "": /embeddings, or the only one. [N,1,D] is
/// [N,D]. UsageError: no such file, several arrays to choose from, a name where arrays have none, another
/// shape or type; Error: truncated or damaged.
EmbeddingFile read_embedding_file(const std::string& path, const std::string& name);

}  // namespace vitral::data
