// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "exchange.h"

#include <charconv>
#include <cmath>
#include <optional>

namespace isthmus::tcp {
namespace {

// The wheel's tick, and one more that arming rounds up to.
constexpr timer::Duration kTick = std::chrono::microseconds(200);

std::string_view trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(' ');
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(' ') - first + 1);
}

// The text before the first of the separators; what follows stays.
std::string_view next(std::string_view& text, std::string_view separators = " ") {
  text = trimmed(text);
  const size_t end = std::min(text.find_first_of(separators), text.size());
  const std::string_view word = text.substr(0, end);
  text = trimmed(text.substr(std::min(end + 1, text.size())));
  return word;
}

uint32_t number(std::string_view text) {
  uint32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  EXPECT_TRUE(error == std::errc() && end == text.data() + text.size()) << text;
  return value;
}

timer::Duration seconds(std::string_view text) {
  return timer::Duration(std::llround(std::stod(std::string(text)) * 1e6));
}

struct Line {
  In packet;
  bool has_ack = false;
  bool has_window = false;
  bool has_options = false;
  bool has_value = false;  // of the timestamp
};

void read_option(std::string_view text, Line& line) {
  SegmentOptions& options = line.packet.options;
  const std::string_view kind = next(text);
  if (kind == "mss") {
    options.has_mss = true;
    options.mss = static_cast<uint16_t>(number(text));
  } else if (kind == "wscale") {
    options.has_scale = true;
    options.scale = static_cast<uint8_t>(number(text));
  } else if (kind == "sackOK") {
    options.sack_permitted = true;
  } else if (kind == "TS") {
    options.has_timestamp = true;
    for (std::string_view what = next(text); !what.empty(); what = next(text)) {
      (what == "val" ? options.timestamp : options.echo) = number(next(text));
      line.has_value |= what == "val";
    }
  } else if (kind == "sack") {
    while (!text.empty()) {
      const uint32_t start = number(next(text, ":"));
      options.sack[options.sack_count++] = {start, number(next(text))};
    }
  } else {
    ADD_FAILURE() << "no such option: " << kind;
  }
}

std::string letters(std::string_view packetdrill) {
  std::string flags;
  for (const char flag : packetdrill) {
    if (flag != '-') flags += flag == '.' ? 'A' : flag == 'W' ? 'C' : flag;
  }
  return letters_of(flags_of(flags));
}

// What follows '<' or '>'. flags_text keeps the letters that the line's packet refers to.
Line read(std::string_view rest, std::string& flags_text) {
  Line line;
  flags_text = letters(next(rest));
  line.packet.flags = flags_text;
  line.packet.sequence = number(next(rest, ":"));
  next(rest, "(");
  line.packet.length = number(next(rest, ")"));
  line.packet.acknowledgment = 0;
  while (!rest.empty()) {
    if (rest.front() == '<') {
      rest.remove_prefix(1);
      std::string_view options = next(rest, ">");
      line.has_options = true;
      while (!options.empty()) read_option(next(options, ","), line);
      continue;
    }
    const std::string_view what = next(rest);
    if (what == "ack") {
      line.packet.acknowledgment = number(next(rest));
      line.has_ack = true;
    } else if (what == "win") {
      line.packet.window = static_cast<uint16_t>(number(next(rest)));
      line.has_window = true;
    } else if (what == "ce") {
      line.packet.ecn = kEcnCongestion;
    } else {
      ADD_FAILURE() << "no such field: " << what;
    }
  }
  return line;
}

void expect_options(const Line& line, const SegmentOptions& got) {
  const SegmentOptions& want = line.packet.options;
  EXPECT_EQ(got.has_mss, want.has_mss);
  EXPECT_EQ(got.mss, want.mss);
  EXPECT_EQ(got.has_scale, want.has_scale);
  EXPECT_EQ(got.scale, want.scale);
  EXPECT_EQ(got.sack_permitted, want.sack_permitted);
  EXPECT_EQ(got.has_timestamp, want.has_timestamp);
  EXPECT_EQ(got.echo, want.echo);
  EXPECT_EQ(got.timestamp, line.has_value ? want.timestamp : got.timestamp);
  ASSERT_EQ(got.sack_count, want.sack_count);
  for (unsigned i = 0; i < want.sack_count; ++i) EXPECT_EQ(got.sack[i], want.sack[i]);
}

}  // namespace

void Exchange::play(std::string_view text) {
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = trimmed(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.empty() || line.front() == '#') continue;
    SCOPED_TRACE(std::string(line));
    play_line(line);
    if (HasFatalFailure()) return;
  }
}

void Exchange::play_line(std::string_view line) {
  std::optional<timer::Duration> delay;
  if (line.front() == '+') delay = seconds(next(line).substr(1));
  if (line.empty()) return run(*delay);
  const std::string_view verb = next(line);
  if (verb == ">" && delay) {
    expect_none();
    const timer::Duration waited = time_to_packet(*delay + kTick);
    EXPECT_GE(waited, *delay);
    EXPECT_LE(waited, *delay + kTick);
  } else if (delay) {
    run(*delay);
  }
  if (verb == ">") return expect_packet(line);
  if (verb != "<") return command(verb, line);
  std::string flags;
  give(read(line, flags).packet);
}

// A SYN without connection is accepted, as a listener would.
void Exchange::give(const In& packet) {
  const bool syn = flags_of(packet.flags) == packet::Tcp::kSyn;
  if (in(packet) || !syn || connection_ != nullptr) return;
  rte_mbuf* opener = segment(packet);
  packet::Parsed view = parsed(opener);
  connection_ = engine_->accept(view, this, options_, now_);
  rte_pktmbuf_free(opener);
  flush();
}

void Exchange::expect_packet(std::string_view rest) {
  std::string flags;
  const Line want = read(rest, flags);
  const Out got = out();
  EXPECT_EQ(got.flags, flags);
  EXPECT_EQ(got.sequence, want.packet.sequence);
  EXPECT_EQ(got.length, want.packet.length);
  EXPECT_EQ(got.acknowledgment, want.has_ack ? want.packet.acknowledgment : got.acknowledgment);
  EXPECT_EQ(got.window, want.has_window ? want.packet.window : got.window);
  if (want.has_options) expect_options(want, got.options);
}

void Exchange::command(std::string_view verb, std::string_view rest) {
  if (verb == "nothing") return expect_none();
  if (verb == "connect") {
    connection_ = engine_->connect(local_, remote_, this, options_, now_);
  } else if (verb == "write") {
    return send(number(rest));
  } else if (verb == "read") {
    EXPECT_EQ(take().size(), number(rest));
  } else if (verb == "close") {
    connection_->shutdown();
  } else if (verb == "abort") {
    std::exchange(connection_, nullptr)->abort();
  } else if (verb == "state") {
    const State state = connection_ == nullptr ? State::closed : connection_->state();
    EXPECT_EQ(to_string(state), rest);
  } else {
    ADD_FAILURE() << "no such command";
  }
  flush();
}

}  // namespace isthmus::tcp
