// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// What one HBONE leg costs, beside its references, in one process on one core. Every figure is CPU
// time of this thread, so that a busy machine makes it noisier but not wrong; of several rounds the
// best counts, for ours and for the references alike.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string>

#include "packet/pools.h"
#include "timer/time.h"

namespace isthmus::bench {

inline double cpu_seconds() {
  timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

// A rig that doesn't do what is measured gives no figure.
inline void require(bool true_, const char* what) {
  if (true_) return;
  std::fprintf(stderr, "bench: %s\n", what);
  std::abort();
}

// Seconds of CPU for a byte of payload, at each end.
struct Cost {
  double sending = 1;
  double receiving = 1;

  void keep_better(double sent, double received) {
    sending = sent < sending ? sent : sending;
    receiving = received < receiving ? received : receiving;
  }
};

// How payload comes to the sender, and how the network carries what it sends.
struct Shape {
  const char* name;
  uint32_t write;    // bytes of a write, each handed on by itself
  uint32_t burst;    // writes that are handed on before the loop goes on
  uint32_t segment;  // bytes of the mbufs in which payload comes
  bool coalesced;    // packets of up to 64 KB; else of an MTU
};

// hbone_leg.cc: relay, HTTP/2, TLS, TCP at the sender; TCP, TLS, HTTP/2, relay at the receiver.
Cost hbone_leg(const Shape& shape, double seconds);

struct PerStream {
  double client = 0;  // seconds
  double server = 0;
};
// hbone_streams.cc: tunnels opened, answered and closed in order, at most 100 at once, on one
// connection.
PerStream streams(double seconds);

// hbone_fairness.cc: seconds from a byte's departure to its return, and bytes a second that the
// bulk streams beside it move.
struct Latency {
  double median = 0;
  double p99 = 0;
  double bulk = 0;
};
struct Path {
  const char* name;
  timer::Duration delay;  // one way
  uint64_t bits_per_second;
  uint32_t queue_bytes;  // of its bottleneck
};
Latency latency_on_path(const Path& path, unsigned bulks, double seconds);  // of virtual time
Latency latency_on_core(unsigned bulks, double seconds);                    // of CPU time

// hbone_memory.cc: bytes.
struct Memory {
  double stream = 0;    // the tunnel and its HTTP/2 stream
  double tcp = 0;       // a connection with its places in the table
  double tcp_busy = 0;  // more of it while something is under way
  double inbound = 0;   // what joins the two legs of a flow
  double outbound = 0;
  double record = 0;      // of the flow, for the console and the access log
  double connection = 0;  // HBONE's, with its TCP, its keys, its HPACK tables
};
Memory memory();

// references.cc
Cost raw_gcm(uint32_t record, double seconds);             // IPsec-MB, nothing else
Cost openssl_nghttp2(const Shape& shape, double seconds);  // no TCP at all

// handshakes.cc: seconds for a handshake, both sides, with both certificates verified.
double our_handshakes(double seconds);
double openssl_handshakes(double seconds);

}  // namespace isthmus::bench
