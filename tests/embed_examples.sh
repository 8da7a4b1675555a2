#!/usr/bin/env bash
# The examples of embedding say the same, in C, in C++, and in Python where it has NumPy (VITRAL_PYTHON, or python3).
#
#   tests/embed_examples.sh WRITE_FILES LIBRARY PROGRAM...        WRITE_FILES: of tests/capi; LIBRARY: libvitral.so.0, for Python
set -euo pipefail
write_files=$1 library=$2
shift 2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export LD_LIBRARY_PATH=$(dirname "$library")${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
"$write_files" "$work"
ask=("$work/student.safetensors" "$work/clip" "$work/picture.png" "a photo of a cat" "zwei Hunde" "un café")

programs=("$@")
python=${VITRAL_PYTHON:-python3}
if why=$("$python" -c 'import numpy' 2>&1); then
  programs+=("$python docs/examples/embed.py")
else
  echo "without Python: ${why##*$'\n'}"
fi
for program in "${programs[@]}"; do
  # shellcheck disable=SC2086 # a program and its script
  $program "${ask[@]}" >"$work/says"
  [[ -f $work/said ]] || cp "$work/says" "$work/said"
  diff "$work/said" "$work/says" || { echo "$program differs from ${programs[0]}"; exit 1; }
  # An error is one line and a status.
  # shellcheck disable=SC2086
  if $program "$work/none" "${ask[@]:1}" 2>"$work/error"; then echo "$program takes a student that is not there"; exit 1; fi
  [[ $(wc -l <"$work/error") == 1 && $(<"$work/error") == *"$work/none: "* ]] || { echo "$program: $(<"$work/error")"; exit 1; }
done
[[ $(grep -cE '^-?[01]\.[0-9]{3}  patch [0-9]+  ' "$work/said") == 3 ]] || { cat "$work/said"; exit 1; }
cat "$work/said"
