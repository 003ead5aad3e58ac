#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: Isthmus authors
#
# Our virtio-user ports against Debian's testpmd with net_vhost: frames go out, macswap sends them
# back, testpmd's own counters are the witness. As many ports as a process may have, and one more,
# which must be refused. Works without privileges and hugepages. Exit status 77: no testpmd here.
#
#   vhost_smoke.sh VHOST_PEER
set -euo pipefail
peer=$1
ports=24
frames=500
command -v dpdk-testpmd >/dev/null || { echo "no dpdk-testpmd (package dpdk-dev)"; exit 77; }

work=$(mktemp -d)
testpmd=
cleanup() {
  [ -z "$testpmd" ] || kill -INT "$testpmd" 2>/dev/null || true
  wait
  rm -rf "$work"
}
trap cleanup EXIT

eal=(--no-huge --no-pci --no-telemetry --no-shconf)
vdevs=()
for ((i = 0; i < ports; i++)); do
  vdevs+=("--vdev=net_vhost$i,iface=$work/vhost$i")
done
XDG_RUNTIME_DIR=$work stdbuf -oL dpdk-testpmd --lcores '0@0-1,1@0-1' -m 512 "${eal[@]}" \
  "--file-prefix=vhost_smoke_a_$$" "${vdevs[@]}" -- --forward-mode=macswap --port-topology=loop \
  --auto-start --nb-cores=1 --stats-period=3600 --total-num-mbufs=32768 --rxd=256 --txd=256 \
  --no-mlockall >"$work/testpmd.log" 2>&1 &
testpmd=$!
for _ in $(seq 300); do
  grep -q 'packets/burst' "$work/testpmd.log" && break
  kill -0 "$testpmd" || { tail -20 "$work/testpmd.log"; exit 1; }
  sleep 0.1
done

status=0
XDG_RUNTIME_DIR=$work timeout 60 "$peer" --lcores '0@0-1' -m 256 "${eal[@]}" \
  "--file-prefix=vhost_smoke_b_$$" --log-level=4 -- "$work/vhost" "$ports" "$frames" \
  2>"$work/peer.err" || status=$?
[ "$status" = 0 ] || { tail -20 "$work/peer.err"; exit "$status"; }

kill -INT "$testpmd"
wait "$testpmd" || true
testpmd=
# testpmd's forward statistics: "RX-packets: 12000  RX-dropped: 0  RX-total: 12000" for all ports.
all=$(grep -A1 'Accumulated forward statistics' "$work/testpmd.log" | tail -1)
echo "testpmd: $all"
[[ $all == *"RX-packets: $((ports * frames)) "* ]]
