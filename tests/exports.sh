#!/usr/bin/env bash
# What libvitral.so shows is its interface (package/libvitral.map) and no more: the functions of capi/vitral.h, each of which stands in
# tests/capi/abi.c, and what is in namespace vitral.
#
#   tests/exports.sh LIBRARY
set -euo pipefail
library=$1
shown=$(nm --dynamic --defined-only "$library" | awk '{print $3}')
foreign=$(grep -vE '^(vitral_|_Z(N|NK|NO|ZN|ZNK|GVN|GVZN|GVZNK|T[ISVHW]NK?|T[hvc][0-9n_]+N)6vitral)' <<<"$shown" || true)
[[ -z $foreign ]] || { printf '%s shows what is not its own:\n%s\n' "$library" "$(c++filt <<<"$foreign")"; exit 1; }
functions=$(grep '^vitral_' <<<"$shown")
for function in $functions; do
  grep -q "= $function;" "$(dirname "$0")/capi/abi.c" || { echo "tests/capi/abi.c lacks $function; add it, with its type"; exit 1; }
done
echo "$(wc -l <<<"$functions") functions of C, $(grep -c 6vitral <<<"$shown") symbols of C++"
