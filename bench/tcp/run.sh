#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: Isthmus authors
#
# Our TCP in memory, then the kernel's over veth between two namespaces, in the same units: cycles
# of the time stamp counter. Needs root for the namespaces.
#
#   bench/tcp/run.sh BUILD_FOLDER [PROGRAM ARGUMENTS...]
set -euo pipefail
build=$1
shift
id=$$
left=isthmus-tcp-a-$id
right=isthmus-tcp-b-$id
server=
eal=()  # set by what follows
# shellcheck source=/dev/null
. "$(dirname "$0")/eal.sh"

cleanup() {
  [ -z "$server" ] || kill "$server" 2>/dev/null || true
  wait
  for name in "$left" "$right"; do ip netns del "$name" 2>/dev/null || true; done
  return_hugepages
}
trap cleanup EXIT

"$build/bench/tcp/bench_tcp" "${eal[@]}" -- "$@"

echo
echo "Reference: the kernel's TCP over veth, one thread an end. CPU of both processes and all soft"
echo "interrupts meanwhile, as cycles; half of it is an end's."
hz=$(awk '/cpu MHz/ { print $4 * 1e6; exit }' /proc/cpuinfo)
for name in "$left" "$right"; do ip netns add "$name"; done
ip -n "$left" link add end type veth peer name end netns "$right"
for name in "$left" "$right"; do
  ip -n "$name" link set lo up
  ip -n "$name" link set end up
  ip netns exec "$name" sysctl -qw net.ipv4.ip_local_port_range='1024 65535' \
    net.ipv4.tcp_tw_reuse=1
done
ip -n "$left" addr add 10.201.1.1/24 dev end
ip -n "$right" addr add 10.201.1.2/24 dev end
ip netns exec "$right" "$build/bench/tcp/bench_tcp_kernel" server 5300 &
server=$!
until ip netns exec "$right" ss -Hltn 'sport = :5301' | grep -q .; do sleep 0.1; done

ticks() {  # of a process
  awk '{ sub(/.*\) /, ""); print $12 + $13 }' "/proc/$1/stat"
}
softirq() {
  awk '/^cpu / { print $8 }' /proc/stat
}

measure() {  # LABEL DIVISOR MODE PARALLEL
  local before after count client soft
  before=$(ticks "$server")
  soft=$(softirq)
  # The client's own CPU is what `times` of this shell gains.
  count=$( { TIMEFORMAT='%U %S'; time ip netns exec "$left" "$build/bench/tcp/bench_tcp_kernel" \
    "$3" 10.201.1.2 5300 "$4" 4; } 2>&1)
  after=$(ticks "$server")
  client=$(tail -n 1 <<<"$count")
  count=$(head -n 1 <<<"$count")
  awk -v label="$1" -v count="$count" -v per="$2" -v ticks=$((after - before)) -v client="$client" \
    -v clk="$(getconf CLK_TCK)" -v hz="$hz" -v soft=$(($(softirq) - soft)) 'BEGIN {
      split(client, own, " ")
      processes = ticks / clk + own[1] + own[2]
      seconds = processes + soft / clk
      n = count / per
      printf "  %-42s %8.0f cycles at both ends (%.0f without soft interrupts), %.0f thousand/s a core\n",
        label, seconds * hz / n, processes * hz / n, n / seconds * 2 / 1e3
    }'
}

measure "segment of 64 KB (TSO, GRO)" 65536 bulk 1
for name in "$left" "$right"; do
  ip netns exec "$name" ethtool -K end tso off gso off gro off >/dev/null 2>&1 || true
done
measure "segment of 1448 bytes, 1 connection" 1448 bulk 1
measure "segment of 1448 bytes, 1,000 connections" 1448 bulk 1000
measure "1-byte transaction, 1,000 connections" 1 transactions 1000
measure "connection with a byte each way" 1 connections 64
