#!/usr/bin/env bash
# bench_cublaslt in the simulator, with tiny sizes: what it prints, and how it says what is wrong.
#
#   cublaslt_test.sh PROGRAM
set -euo pipefail
program=$1

fail() { echo "cublaslt_test: $1" >&2; exit 1; }
# How many lines of `text` hold each pattern.
expect() {
  local count
  count=$(grep -cE -- "$2" <<<"$text" || true)
  [[ $count == "$1" ]] || fail "$count lines, not $1, hold $2 in: $text"
}

text=$("$program" --small --only 'student c_fc')
expect 1 '^NVIDIA H200 \(simulated\) 9.0, cuBLASLt 13.1.0, bf16$'
expect 1 '^student c_fc, forward +64, 64, 16 +[0-9.]+ +[0-9.]+ +[0-9.]+ +[0-9.]+  [0-9]+x[0-9]+, stages '
expect 1 '^student c_fc, forward \+ bias '
expect 1 '^student c_fc, gradient of x '
expect 1 '^student c_fc, gradient of weight \+ bias gradient '
expect 1 '^student c_fc, gradient of bias +by the product [0-9.]+ us, product and pass [0-9.]+ \+ [0-9.]+ us$'
expect 8 ''

text=$("$program" --small --json)
expect 0 '^[^{]'
expect 62 '"what":"product"'  # 12 biased layers with 5 products each, patches with 2
expect 12 '"what":"bias gradient".*"by_product_microseconds":[0-9]'
grep -qE '"what":"algorithm","model":"clip-text","layer":"c_proj","pass":"forward","m":77,"n":16,"k":64,"inputs":"bfloat16","epilogue":"bias","number":1,"microseconds":.*"tile":"128x128","stages":"64x3","split_k":1,"reduction":"none"' <<<"$text" ||
  fail "the first algorithm is not there"

text=$("$program" --small --only quick_gelu)
expect 6 '^[a-z-]+ quick_gelu, (for|back)ward +([0-9.]+) us apart, [0-9.]+ us by the product, then the activation$'
text=$(VITRAL_SIMULATOR_CUDNN=91900 "$program" --small --json --only quick_gelu)
expect 6 '"what":"activation","model":"[a-z-]+","layer":"c_fc","pass":"(for|back)ward","apart_microseconds":[0-9.]+,"best_microseconds":[0-9.]+,"best":"(the product, then the activation|both in one kernel of cuDNN 9.19.0)"'

# No bias gradient by products.
text=$(VITRAL_SIMULATOR_NO_EPILOGUES=1 "$program" --small --only 'student c_fc' 2>&1)
expect 1 '^bench_cublaslt: student c_fc, gradient of weight: measure_product: CUBLAS_STATUS_NOT_SUPPORTED for '
expect 1 'by the product - us, product and pass [0-9.]+ '

status=0
text=$("$program" --device cpu 2>&1) || status=$?
[[ $status == 2 ]] || fail "status $status"
expect 1 '^bench_cublaslt: --device cpu: only a GPU has algorithms to choose from$'
