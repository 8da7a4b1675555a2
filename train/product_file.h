// train.products: which of its algorithms the GPU's library multiplies with, measured once and kept, so that
// every later run and every resume has the same bits. A file of lines of JSON, one a product, in the order in
// which they were measured:
//
//   {"multiplier":"NVIDIA H200 9.0,
//   cuBLASLt 13.1.0","m":131072,"n":1584,"k":528,"batch":1,"transpose_a":false,
//    "transpose_b":true,"shared_b":false,"accumulate":false,"epilogue":"bias","inputs":"bfloat16",
//    "output":"bfloat16","tf32":false,"alignment":[256,256,256,256],"id":66,"tile":409,"stages":35,"split_k":1,
//    "reduction":0,"swizzle":0,"custom":0,"inner_shape":0,"cluster_shape":3,
//    "means":"128x176, stages 64xAUTO, id 66","microseconds":301.25,"first_microseconds":340.5}
//
// Members are those of ProductKey and ProductAlgorithm (tensor/ops/products.h); `means` is for people alone.
// Lines of other devices and versions of the library stay and are not used. Who adds a line writes the file
// anew, whole or not at all.
#pragma once
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "tensor/ops/products.h"

namespace vitral::train {

class ProductFile : public ProductChoices {
 public:
  /// What a product without a line is to do: measure, and then the file is written; or take the library's
  /// first proposal, which is said once where the file has any line for this multiplier, or not.
  enum class Missing { measure, tell, silent };

  /// `text`: what the file holds. Error "FILE:3: ...": a line that is none of these.
  ProductFile(std::string path, const std::string& text, std::string multiplier, Missing missing);

  const std::string& multiplier() const override { return multiplier_; }
  /// "FILE:12".
  std::string where(const ProductKey& key) const override;
  std::optional<ProductAlgorithm> find(const ProductKey& key) override;
  bool measures() const override { return missing_ == Missing::measure; }
  /// Writes the file. Error: it cannot be written, or was damaged meanwhile.
  ProductAlgorithm add(const ProductChoice& choice) override;

  /// How many lines are of this multiplier, and of others.
  std::int64_t own_lines() const;
  std::int64_t other_lines() const;
  /// Says which choices there are now, for agrees_with().
  std::string fingerprint() const;
  /// Whether those that `fingerprint` was made of are the same still; more may have come.
  bool agrees_with(const std::string& fingerprint) const;

 private:
  struct Kept {
    ProductAlgorithm algorithm;
    std::int64_t line = 0;
  };

  void read(const std::string& text);
  std::string fingerprint(std::size_t lines) const;

  mutable std::mutex mutex_;
  std::string path_, multiplier_;
  Missing missing_;
  std::string text_;
  std::map<ProductKey, Kept> kept_;
  std::vector<std::string> own_;  // what each of the lines chooses, without its times
  std::int64_t others_ = 0;
  bool told_ = false;
};

/// What the file holds; "" where there is none. Throws as read_text().
std::string read_product_file(const std::string& path);

/// What a resume from `where` should say, whose run had the fingerprint `then` ("": no file), where it has
/// `now` (null: no file): other algorithms give other last bits. "": they are the same.
std::string changed_choices(const ProductFile* now, const std::string& then, const std::string& where);

/// For all products of the process, to the end of the scope. Null: none.
class ProductsInUse {
 public:
  explicit ProductsInUse(std::shared_ptr<ProductChoices> choices) { set_product_choices(std::move(choices)); }
  ~ProductsInUse() { set_product_choices(nullptr); }
  ProductsInUse(const ProductsInUse&) = delete;
  ProductsInUse& operator=(const ProductsInUse&) = delete;
};

}  // namespace vitral::train
