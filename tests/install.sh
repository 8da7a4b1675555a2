#!/usr/bin/env bash
# What `meson install` leaves is whole: every file lies under the prefix; the headers need nothing but each other and what vitral.pc names;
# the documents' programs build against it with nothing but pkg-config, and run; the manual pages are read without a warning.
#
#   tests/install.sh BUILD WRITE_FILES        WRITE_FILES: of tests/capi
set -euo pipefail
build=$1 write_files=$2
read -ra cxx <<<"${CXX:-c++}" # it may be two words
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() {
  echo "$1"
  exit 1
}

meson install -C "$build" --no-rebuild --quiet --destdir "$work/image" >"$work/log" 2>&1 || fail "$(<"$work/log")"
pc=$(find "$work/image" -name vitral.pc)
export PKG_CONFIG_PATH=${pc%/*} LC_ALL=C.UTF-8
library=${pc%/pkgconfig/*}
pc() { pkg-config "$@" vitral; }
prefix=$(realpath "$(pc --variable=prefix)")
[[ $prefix == "$work/image"* ]] || fail "vitral.pc takes $prefix for the prefix"
outside=$(find "$work/image" -not -type d -not -path "$prefix/*")
[[ -z $outside ]] || fail "outside of the prefix: $outside"
for file in bin/vitral include/vitral/vitral.h include/vitral/nn/nn.h share/man/man1/vitral{,-train,-vocabulary}.1 \
  share/bash-completion/completions/vitral.bash share/zsh/site-functions/_vitral share/vitral/configs/student-21m.yaml; do
  [[ -s $prefix/$file ]] || fail "$file is not installed"
done
[[ -s $library/libvitral.so.0 && -L $library/libvitral.so && ! -e $library/libvitral.a ]] || fail "$(ls "$library")"
readelf -d "$library/libvitral.so" | grep -q 'SONAME.*\[libvitral\.so\.0\]' || fail "libvitral.so has another soname"

# Headers: that whose file of code includes it first is known to need nothing before it.
root=$(pwd)
cd "$prefix/include/vitral"
for header in $(find . -name '*.h' -printf '%P\n'); do
  for included in $(sed -nE 's/^ *# *include "([^"]+)".*/\1/p' "$header"); do
    [[ -f $included ]] || fail "$header includes $included, which is not installed; add it to package/headers.txt"
  done
  [[ $header == vitral.h || $header == tensor/ops/* || -f $root/${header%.h}.cpp ]] || echo "$header"
done >"$work/alone"
[[ $(wc -l <"$work/alone") -gt 10 ]]
# shellcheck disable=SC2046 # flags
xargs -a "$work/alone" -P "$(nproc)" -I{} sh -c "echo '#include \"{}\"' | ${cxx[*]} -std=c++20 -x c++ -fsyntax-only $(echo $(pc --cflags)) -" ||
  fail "a header does not compile by itself"
cd "$root"

cp docs/examples/{fit_network,embed_images}.cpp docs/examples/embed.c "$work"
# shellcheck disable=SC2046
{
  for example in fit_network embed_images; do
    "${cxx[@]}" -std=c++20 -o "$work/$example" "$work/$example.cpp" $(pc --cflags --libs)
  done
  for compiler in gcc clang; do
    command -v "$compiler" >/dev/null || { echo "without $compiler" && continue; }
    "$compiler" -std=c99 -pedantic -Wall -Wextra -Werror -o "$work/embed-$compiler" "$work/embed.c" $(pc --cflags --libs) -lm
  done
}
export LD_LIBRARY_PATH=$library
export OMP_NUM_THREADS=1
"$work/fit_network" >"$work/fit" || fail "fit_network: $(<"$work/fit")"
tests/embed_examples.sh "$write_files" "$library/libvitral.so.0" "$work"/embed-* "$work/embed_images"

[[ $("$prefix/bin/vitral" --version) == "vitral $(pc --modversion)" ]] || fail "vitral --version and vitral.pc differ"
if command -v man >/dev/null; then
  for page in "$prefix"/share/man/man1/*.1; do
    warnings=$(MANWIDTH=80 man --warnings -E UTF-8 -l -Tutf8 -Z "$page" 2>&1 >/dev/null)
    [[ -z $warnings ]] || fail "$page: $warnings"
  done
fi
echo "$(find "$prefix" -not -type d | wc -l) files, $(wc -l <"$work/alone") headers compiled by themselves"
