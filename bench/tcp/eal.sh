# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: Isthmus authors
# Sourced by what runs a benchmark in memory: sets the array `eal`, EAL's arguments. Memory is on
# hugepages, as a gateway would have it; where the machine has none free, and we may, they are
# borrowed, and return_hugepages gives them back.
hugepages=/proc/sys/vm/nr_hugepages
borrowed=

free_hugepages() {
  awk '/HugePages_Free/ { print $2 }' /proc/meminfo
}
return_hugepages() {
  [ -z "$borrowed" ] || echo "$borrowed" >"$hugepages"
  borrowed=
}

eal=(-l "$(($(nproc) - 1))" --no-pci --no-telemetry --log-level=3 "--file-prefix=isthmus_bench_$$")
if [ "$(free_hugepages)" -lt 256 ] && [ -w "$hugepages" ]; then
  borrowed=$(cat "$hugepages")
  echo $((borrowed + 256)) >"$hugepages"
fi
if [ "$(free_hugepages)" -ge 256 ]; then
  eal+=(--in-memory -m 512)
else
  eal+=(--no-huge --no-shconf -m 512)
fi
# The engines' tables are the heap's: on huge pages too.
export GLIBC_TUNABLES=glibc.malloc.hugetlb=1
