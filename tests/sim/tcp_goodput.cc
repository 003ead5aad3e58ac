// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "sim/tcp_goodput.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

#include "packet/headers.h"
#include "sim/tcp_flows.h"

namespace isthmus::sim {
namespace {

using namespace std::chrono_literals;

constexpr double kPayload = 1448;  // of a full segment with timestamps
constexpr double kPacket = 1500;
constexpr uint64_t kForever = uint64_t{1} << 40;

double seconds(timer::Duration duration) {
  return static_cast<double>(duration.count()) * 1e-6;
}

LinkModel path(uint64_t bits_per_second, timer::Duration rtt, double queue_of_product) {
  LinkModel link;
  link.bits_per_second = bits_per_second;
  link.delay = rtt / 2;
  const double product = static_cast<double>(bits_per_second) / 8 * seconds(rtt);
  link.queue_bytes = static_cast<uint32_t>(std::max(product * queue_of_product, 30'000.0));
  return link;
}

tcp::Config config() {
  tcp::Config config;
  config.max_connections = 4;
  config.max_time_wait = 4;
  config.max_sent_records = 16'384;
  config.max_receive_buffer = 4 << 20;
  config.max_send_buffer = 4 << 20;
  return config;
}

Flow flow(uint64_t bytes) {
  Flow flow;
  flow.sender.bytes = bytes;
  flow.sender.chunk = 32'000;
  flow.sender.content = false;
  return flow;
}

std::string name_of(const LinkModel& link) {
  return fmt::format("{} Mbit/s, {} ms", link.bits_per_second / 1'000'000,
                     static_cast<double>(link.delay.count()) * 2 / 1000);
}

tcp::Config unpaced() {
  tcp::Config same = config();
  same.paced_rtt = 1h;
  return same;
}

// Mbit/s of payload between two instants of a run.
double rate(FlowsRun& run, size_t index, timer::Duration from, timer::Duration to) {
  run.run_until(from);
  const uint64_t before = run.taken(index);
  run.run_until(to);
  return static_cast<double>(run.taken(index) - before) * 8 / 1e6 / seconds(to - from);
}

// RFC 9438 section 5.2: the window of segments that CUBIC's law gives, and where it is the more,
// the Reno-friendly one.
double law(double loss, double rtt) {
  const double cubic = 1.054 * std::pow(rtt, 0.75) / std::pow(loss, 0.75);
  const double reno = std::sqrt(1.5 / loss);
  return std::max(cubic, reno);
}

timer::Duration time_of(uint64_t bytes, timer::Duration rtt, bool lose_tail, uint64_t* timeouts) {
  LinkModel link;
  link.delay = rtt / 2;
  FlowsRun run(1, link, config(), {flow(bytes)});
  bool lost = false;
  run.link().lose_if([&](int from, uint64_t, const std::vector<uint8_t>& packet) {
    const auto& tcp = *reinterpret_cast<const packet::Tcp*>(packet.data() + 20);
    if (!lose_tail || from != 0 || lost || (tcp.flags & packet::Tcp::kFin) == 0) return false;
    return lost = true;
  });
  const timer::Duration took = run.run_to_end(1min);
  *timeouts += run.stats().timeouts;
  return took;
}

// A bottleneck that marks at a quarter of its queue, and so never fills it.
Figure marked() {
  LinkModel link = path(100'000'000, 20ms, 2);
  link.mark_bytes = link.queue_bytes / 4;
  Flow marked = flow(kForever);
  marked.options.ecn = tcp::Ecn::active;
  FlowsRun run(1, link, config(), {marked});
  const double measured = rate(run, 0, 5s, 20s);
  const double ideal = 100 * kPayload / kPacket;
  const double unharmed = run.link().lost(0) == 0 ? measured : 0;
  return {"marked by ECN instead of losses", "Mbit/s", unharmed, ideal, 0.95 * ideal};
}

}  // namespace

std::vector<Figure> goodput_without_loss() {
  std::vector<Figure> figures;
  const LinkModel links[] = {path(10'000'000, 40ms, 1), path(100'000'000, 20ms, 1),
                             path(100'000'000, 20ms, 0.5), path(50'000'000, 100ms, 1),
                             path(100'000'000, 2ms, 1)};
  for (const LinkModel& link : links) {
    const double ideal = static_cast<double>(link.bits_per_second) / 1e6 * kPayload / kPacket;
    FlowsRun run(1, link, config(), {flow(kForever)});
    const double measured = rate(run, 0, 5s, 20s);
    figures.push_back(
        {fmt::format("no loss, {}, queue {} kB", name_of(link), link.queue_bytes / 1000), "Mbit/s",
         measured, ideal, 0.95 * ideal});
  }
  figures.push_back(marked());
  // From the first SYN to the last FIN.
  const LinkModel link = path(100'000'000, 20ms, 1);
  const double ideal = 100 * kPayload / kPacket;
  FlowsRun run(1, link, config(), {flow(48 << 20)});
  const double measured = (48 << 20) * 8 / 1e6 / seconds(run.run_to_end(1min));
  figures.push_back({"no loss, 48 MiB from SYN to FIN", "Mbit/s", measured, ideal, 0.95 * ideal});
  return figures;
}

// Where a window is several times what the bottleneck's queue takes.
std::vector<Figure> shallow_queues() {
  std::vector<Figure> figures;
  for (const double queue : {0.1, 0.25}) {
    const LinkModel link = path(100'000'000, 60ms, queue);
    const auto measure = [&](const tcp::Config& config) {
      FlowsRun run(1, link, config, {flow(kForever)});
      return rate(run, 0, 5s, 20s);
    };
    const double without = measure(unpaced());
    figures.push_back({fmt::format("{}, queue {} kB, unpaced: {:.1f}", name_of(link),
                                   link.queue_bytes / 1000, without),
                       "Mbit/s", measure(config()), 100 * kPayload / kPacket, 1.3 * without});
  }
  return figures;
}

std::vector<Figure> goodput_under_loss() {
  std::vector<Figure> figures;
  for (const timer::Duration rtt :
       {timer::Duration(10ms), timer::Duration(40ms), timer::Duration(100ms)}) {
    for (const double loss : {0.001, 0.01}) {
      LinkModel link = path(100'000'000, rtt, 1);
      link.loss = loss;
      const double ideal = std::min(law(loss, seconds(rtt)) * kPayload * 8 / 1e6 / seconds(rtt),
                                    100 * kPayload / kPacket);
      double measured = 0;
      constexpr int kSeeds = 4;
      for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
        FlowsRun run(seed, link, config(), {flow(kForever)});
        measured += rate(run, 0, 5s, 65s) / kSeeds;
      }
      figures.push_back({fmt::format("{} % random loss, {}", loss * 100, name_of(link)), "Mbit/s",
                         measured, ideal, 0.85 * ideal});
    }
  }
  return figures;
}

std::vector<Figure> tail_repair() {
  std::vector<Figure> figures;
  for (const timer::Duration rtt :
       {timer::Duration(500us), timer::Duration(5ms), timer::Duration(20ms), timer::Duration(100ms),
        timer::Duration(200ms)}) {
    double worst = 0;
    uint64_t timeouts = 0;
    for (const uint64_t bytes : {uint64_t{300}, uint64_t{1448}, uint64_t{14'000}}) {
      const timer::Duration whole = time_of(bytes, rtt, false, &timeouts);
      const timer::Duration tail = time_of(bytes, rtt, true, &timeouts);
      worst = std::max(worst, seconds(tail - whole) * 1000);
    }
    const double ideal = 2 * seconds(rtt) * 1000;
    figures.push_back(
        {fmt::format("lost tail repaired, RTT {} ms", static_cast<double>(rtt.count()) / 1000),
         "ms", worst, ideal, ideal + 10, false});
    figures.push_back({"  timeouts in it", "", static_cast<double>(timeouts), 0, 0, false});
  }
  return figures;
}

std::vector<Figure> reordering() {
  std::vector<Figure> figures;
  for (const uint32_t every : {7u, 50u, 500u}) {
    LinkModel link = path(100'000'000, 20ms, 1);
    link.reorder_every = every;
    link.reorder_delay = 400us;  // three full packets and some
    FlowsRun run(1, link, config(), {flow(kForever)});
    const double measured = rate(run, 0, 5s, 20s);
    const double ideal = 100 * kPayload / kPacket;
    const std::string what = fmt::format("every {}th packet behind 3 others", every);
    figures.push_back({what, "Mbit/s", measured, ideal, 0.95 * ideal});
    figures.push_back(
        {"  timeouts in it", "", static_cast<double>(run.stats().timeouts), 0, 0, false});
  }
  return figures;
}

// The later flow finds the path full, and CUBIC takes some ten epochs to share it; from then on the
// shares go up and down with whose packet meets the full queue. So late, and the mean of some runs:
// of each one's lesser share, as the sum of both would let one run's loser be the next one's
// winner.
std::vector<Figure> fairness(timer::Duration rtt, unsigned runs, unsigned short_queues) {
  constexpr auto kConverged = 100s;
  constexpr auto kMeasured = 80s;
  const LinkModel link = path(50'000'000, rtt, 1);
  double both = 0;
  double lesser = 0;
  for (unsigned i = 0; i < runs; ++i) {
    Flow flows[] = {flow(kForever), flow(kForever)};
    flows[1].starts = 3s + i * 37ms;
    for (unsigned j = 0; j < short_queues; ++j) flows[j].options.short_queue = true;
    FlowsRun run(1, link, config(), {flows[0], flows[1]});
    run.run_until(kConverged);
    const uint64_t first = run.taken(0), second = run.taken(1);
    run.run_until(kConverged + kMeasured);
    const auto a = static_cast<double>(run.taken(0) - first);
    const auto b = static_cast<double>(run.taken(1) - second);
    both += a + b;
    lesser += 2 * std::min(a, b) / (a + b) / runs;
  }
  const double seconds = static_cast<double>(kMeasured.count()) * runs;
  const char* whose[] = {"the lesser of two flows' share", "  one with a short queue",
                         "  both with a short queue"};
  return {{fmt::format("{}, {}", whose[short_queues], name_of(link)), "of even", lesser, 1, 0.8},
          {"  both together", "Mbit/s", both * 8 / 1e6 / seconds, 50 * kPayload / kPacket,
           0.95 * 50 * kPayload / kPacket}};
}

}  // namespace isthmus::sim
