#!/usr/bin/env bash
# Two hosts of one machine: two network namespaces with a wire between them, and mpirun on the first, which starts one process on
# each. Needs root, iproute2 and Open MPI; exit status 77, and why, where it cannot be done.
#
#   tests/two_hosts.sh [--rate 1gbit] [--delay 100us] [--cut SECONDS] PROGRAM [ARGUMENT...]
#
# --rate, --delay: of each direction (tc: tbf; netem, which not every kernel has). --cut: the wire is cut after so long.
set -euo pipefail
rate="" delay="" cut=""
while [[ ${1:-} == --* ]]; do
  case $1 in
    --rate) rate=$2 ;;
    --delay) delay=$2 ;;
    --cut) cut=$2 ;;
    *) echo "two_hosts: unknown option $1" >&2 && exit 2 ;;
  esac
  shift 2
done

cannot() {
  echo "two_hosts: $1" >&2
  exit 77
}
((EUID == 0)) || cannot "needs root"
command -v ip >/dev/null || cannot "needs ip (iproute2)"
command -v mpirun >/dev/null || cannot "needs mpirun (openmpi-bin)"

a=vitral-$$-a b=vitral-$$-b
work=$(mktemp -d)
trap 'ip netns del $a 2>/dev/null; ip netns del $b 2>/dev/null; rm -rf "$work"' EXIT
ip netns add $a 2>/dev/null && ip netns add $b 2>/dev/null || cannot "no network namespaces here"
ip link add wire netns $a type veth peer name wire netns $b || cannot "no veth here"
subnet=10.77.7
for host in "$a 1" "$b 2"; do
  read -r name number <<<"$host"
  ip -n "$name" addr add $subnet."$number"/24 dev wire
  ip -n "$name" link set wire up
  ip -n "$name" link set lo up
  if [[ $rate ]]; then
    tc -n "$name" qdisc add dev wire root handle 1: tbf rate "$rate" burst 512kb latency 100ms 2>"$work/tc" ||
      cannot "no tbf here: $(head -1 "$work/tc")"
  fi
  if [[ $delay ]]; then
    tc -n "$name" qdisc add dev wire $([[ $rate ]] && echo parent 1:1 || echo root) netem delay "$delay" 2>"$work/tc" ||
      cannot "no netem here: $(head -1 "$work/tc")"
  fi
done

# What mpirun runs in place of ssh.
cat >"$work/agent" <<END
#!/bin/sh
shift
exec ip netns exec $b sh -c "\$*"
END
chmod +x "$work/agent"
if [[ $cut ]]; then
  (sleep "$cut" && ip -n $b link set wire down) &
fi
ip netns exec $a mpirun --allow-run-as-root -host $subnet.1:1,$subnet.2:1 --bind-to none \
  --mca plm_rsh_agent "$work/agent" --mca oob_tcp_if_include $subnet.0/24 \
  --mca pml ob1 --mca btl tcp,self --mca btl_tcp_if_include $subnet.0/24 -x OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" "$@"
