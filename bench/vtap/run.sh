#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: Isthmus authors
#
# iperf3 between two network namespaces: joined by a veth pair, by net_vtap (vtap_shuttle) and by
# DPDK's own net_tap (testpmd). Prints throughput and the CPU time of whoever joins them, which for
# veth is nobody. Needs root.
#
#   bench/vtap/run.sh [BUILD_FOLDER] [SECONDS]
set -euo pipefail
build=${1:-build}
seconds=${2:-5}
id=$$
left=isthmus-bench-a-$id
right=isthmus-bench-b-$id
middle=isthmus-bench-m-$id
work=$(mktemp -d)
joiner=
server=

cleanup() {
  [ -z "$server" ] || kill "$server" 2>/dev/null || true
  [ -z "$joiner" ] || kill -INT "$joiner" 2>/dev/null || true
  wait
  for name in "$left" "$right" "$middle"; do ip netns del "$name" 2>/dev/null || true; done
  rm -rf "$work"
}
trap cleanup EXIT

namespaces() {
  for name in "$left" "$right" "$middle"; do
    ip netns del "$name" 2>/dev/null || true
    ip netns add "$name"
  done
}

addresses() {
  ip -n "$left" addr add 10.200.1.1/24 dev end
  ip -n "$right" addr add 10.200.1.2/24 dev end
  ip -n "$left" link set end up
  ip -n "$right" link set end up
}

wait_for() {  # COMMAND...: until it succeeds, 10 s at most
  for _ in $(seq 100); do
    "$@" >/dev/null 2>&1 && return 0
    sleep 0.1
  done
  echo "run.sh: gave up waiting for: $*" >&2
  return 1
}

cpu_ms() {  # of the joiner, all its threads
  [ -n "$joiner" ] || { echo 0; return; }
  awk -v hz="$(getconf CLK_TCK)" '{ sub(/.*\) /, ""); print int(($12 + $13) * 1000 / hz) }' \
    "/proc/$joiner/stat"
}

measure() {  # LABEL STREAMS
  local before after
  wait_for ip netns exec "$left" ping -c 1 -W 1 10.200.1.2
  ip netns exec "$right" iperf3 -s -1 >/dev/null 2>&1 &
  server=$!
  wait_for ip netns exec "$right" sh -c "ss -Hltn 'sport = :5201' | grep -q ."
  before=$(cpu_ms)
  ip netns exec "$left" iperf3 -c 10.200.1.2 -t "$seconds" -P "$2" -J >"$work/out.json"
  after=$(cpu_ms)
  wait "$server"
  server=
  jq -r --arg path "$1" --arg streams "$2" --argjson ms $((after - before)) '
    .end.sum_received as $r
    | [$path, $streams, ($r.bits_per_second / 1e7 | round / 100),
       ($ms / 1000 / ($r.bytes / 1e9) * 1000 | round / 1000)] | @tsv' "$work/out.json"
}

join_veth() {
  ip -n "$left" link add end type veth peer name end netns "$right"
}

eal=(--no-huge -m 256 --no-pci --no-telemetry --no-shconf "--file-prefix=isthmus_bench_$id")

join_vtap() {
  "$build/bench/vtap/vtap_shuttle" --lcores '0@0-1' "${eal[@]}" \
    "--vdev=net_vtap0,iface=end,netns=$left" "--vdev=net_vtap1,iface=end,netns=$right" \
    -- net_vtap0 net_vtap1 >"$work/joiner.log" 2>&1 &
  joiner=$!
  wait_for ip -n "$right" link show end
}

join_net_tap() {
  ip netns exec "$middle" stdbuf -oL dpdk-testpmd --lcores '0@0-1,1@0-1' "${eal[@]}" \
    --vdev=net_tap0,iface=enda --vdev=net_tap1,iface=endb \
    -- --forward-mode=io --auto-start --nb-cores=1 --stats-period=3600 --total-num-mbufs=8192 \
    >"$work/joiner.log" 2>&1 &
  joiner=$!
  # Not before it forwards: its start configures the interfaces by name, in its own namespace.
  wait_for grep -q "packets/burst" "$work/joiner.log"
  ip -n "$middle" link set enda name end netns "$left"
  ip -n "$middle" link set endb name end netns "$right"
}

leave() {
  [ -z "$joiner" ] && return
  kill -INT "$joiner"
  wait "$joiner" || true
  joiner=
}

echo "iperf3 TCP, ${seconds} s, namespace to namespace; $(nproc) CPUs shared by client, joiner and server"
printf 'path\tstreams\tGbit/s\tCPU s/GB of the joiner\n'
for path in veth vtap net_tap; do
  namespaces
  "join_$path"
  addresses
  for streams in 1 4; do measure "$path" "$streams"; done
  leave
done
