#!/usr/bin/env bash
# Training steps of one process with all cores and of one process a core, in turn; then the exchange alone: on this host, and
# between two hosts made of network namespaces at 10 and 1 Gbit/s (needs root; tests/two_hosts.sh).
#
#   tests/bench/compare_processes.sh [ROUNDS] [OPTION of bench_processes ...]
set -euo pipefail
cd "$(dirname "$0")/../.."
rounds=${1:-3}
shift || true
bench=${BUILD:-build}/tests/bench_processes
ninja -C "${BUILD:-build}" tests/bench_processes libvitral_mpi.so >/dev/null
export GOMP_SPINCOUNT=1000 OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
n=$(nproc)
for ((i = 0; i < rounds; ++i)); do
  OMP_NUM_THREADS=$n "$bench" "$@"
  OMP_NUM_THREADS=1 mpirun -n "$n" --bind-to core "$bench" "$@"
done
for rate in 10gbit 1gbit; do
  echo "between two hosts at $rate:"
  tests/two_hosts.sh --rate $rate "$bench" --exchange || true
  tests/two_hosts.sh --rate $rate --delay 100us "$bench" --exchange || true
done
