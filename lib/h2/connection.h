// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// An HTTP/2 connection for CONNECT tunnels (RFC 9113), either role. Sans-IO: takes the plaintext of
// the byte stream, gives record-sized pieces of it, and never copies payload. What is no CONNECT
// request it answers by itself.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>

#include "h2/bounds.h"
#include "h2/context.h"
#include "h2/frame.h"
#include "h2/headers.h"
#include "h2/stream.h"
#include "h2/stream_table.h"
#include "packet/chain.h"
#include "stats/reason.h"
#include "timer/time.h"

namespace isthmus::h2 {

enum class Role : uint8_t { client, server };

struct Options {
  Role role = Role::server;
  uint16_t max_streams = 100;         // at once, accepted or opened; at most kMaxStreams
  uint32_t stream_window = 1u << 20;  // bytes, 65,535 or more: at the start
  uint32_t connection_window = 1u << 20;
  // Up to here both grow to twice what is read in a round trip; less than 2^30.
  uint32_t largest_window = 4u << 20;
  // Bytes that a stream takes before DATA goes out; fewer when the worker's budget is used up.
  uint32_t send_queue = 256u << 10;
  uint16_t non_connect_status = 404;  // Istio 1.18: 404; today's: 400

  timer::Duration settings_timeout = std::chrono::seconds(10);  // SETTINGS to its ACK
  timer::Duration ping_after = std::chrono::seconds(10);    // silence before a PING; zero: never
  timer::Duration ping_timeout = std::chrono::seconds(20);  // PING to any frame
  timer::Duration goaway_grace = std::chrono::seconds(1);   // between the two GOAWAYs
};

// Called from receive(), advance() and prepare(). A call may use any method of the connection but
// these three.
class Handler {
 public:
  // A CONNECT request: answer by respond(), sooner or later, or by reset(). Views last for the
  // call.
  virtual void on_request(Stream& stream, const Request& request) = 0;
  // The final answer to our CONNECT. Only 200 makes a tunnel; bytes of another answer are readable.
  virtual void on_response(Stream& stream, const Response& response) = 0;
  virtual void on_readable(Stream& stream) = 0;
  // send_room() grew after it had been less than what its owner wanted.
  virtual void on_writable(Stream& stream) = 0;
  // END_STREAM: nothing follows what is readable.
  virtual void on_end_received(Stream& stream) = 0;
  // END_STREAM and all bytes before it were handed to prepare()'s caller.
  virtual void on_end_sent(Stream& stream) = 0;
  // The peer reset the stream, or its error made us reset it. refused: the peer says that it did
  // nothing with the request, a retry is safe (REFUSED_STREAM, or above GOAWAY's last stream).
  virtual void on_reset(Stream& stream, ErrorCode code, bool refused) = 0;
  // The peer wants no new streams here (GOAWAY).
  virtual void on_goaway() = 0;

 protected:
  ~Handler() = default;
};

enum class ReceiveStatus : uint8_t {
  ok,         // everything was taken
  blocked,    // answers wait to be sent: call again after prepare() gave something
  no_buffer,  // a mempool is empty: call again later
  closed,     // the connection failed; error() says why
};

class Connection {
 public:
  // Null handler is not allowed. The handler outlives the connection. start() must follow.
  Connection(Context& context, const Options& options, Handler& handler);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // False when there is no memory for HPACK; then nothing else may be called. The client's preface,
  // SETTINGS and window are queued; the server's wait for the preface.
  bool start(timer::Instant now);

  // Takes plaintext from the front of bytes, cut anyhow; what is left, when blocked or no_buffer,
  // is to be offered again.
  ReceiveStatus receive(packet::Chain& bytes, timer::Instant now);
  // To the peer and back, as the transport knows it. Zero, which it is until told: windows stay.
  void set_round_trip(timer::Duration round_trip) { round_trip_ = round_trip; }
  // The time for timeouts and liveness; call at deadline() or later.
  void advance(timer::Instant now);
  timer::Instant deadline() const;

  // Composes the next piece to send, at most max bytes (at least 64; a header block may be longer):
  // head(), then payload(). False when there is nothing, or no buffer to cut a payload. The piece
  // stays until head_sent() was called and payload() was emptied.
  bool prepare(uint32_t max);
  std::span<const uint8_t> head() const { return std::span(staged_).first(staged_used_); }
  packet::Chain& payload() { return staged_payload_; }
  void head_sent() { staged_used_ = 0; }
  // Its streams hold their share of a worker's memory that is used up: offer it no more bytes until
  // some are read. Whoever keeps little is let go on, so that others' windows open.
  bool overfull() const { return context_.overfull() && occupied_ > kLeastShare; }
  // Answers wait to be sent and receive() takes nothing before they are.
  bool blocked() const { return control_used_ + kControlReserve > kControlRoom; }
  // The last prepare() found no buffer to cut a payload: call it again later.
  bool starved() const { return starved_; }

  // Client: opens a stream by a CONNECT request. Null when can_open() is false or buffers are
  // short. fields follow :method and :authority.
  Stream* open(std::string_view authority, std::span<const Field> fields);
  // A stream can be opened now: no GOAWAY, below the peer's limit and ours, ids left.
  bool can_open() const;
  // More streams may become possible later; false after GOAWAY or when ids have run out.
  bool reusable() const;

  // Server: the final answer. With end the stream ends with it. False when buffers are short.
  bool respond(Stream& stream, uint16_t status, std::span<const Field> fields, bool end);

  // At most max bytes of what is readable; reading opens the windows. May give fewer when clones
  // are short.
  packet::Chain read(Stream& stream, uint32_t max);
  // Room for write(). After there was none, or the queue was half full, on_writable() follows when
  // it is less than that.
  uint32_t send_room(Stream& stream) const;
  // At most send_room() bytes. Bytes for a stream that was reset are dropped.
  void write(Stream& stream, packet::Chain&& bytes);
  // END_STREAM after what is queued.
  void end(Stream& stream);
  // RST_STREAM; queued bytes in both directions are dropped. No event follows.
  void reset(Stream& stream, ErrorCode code);
  // The owner is done with the stream; a finished one frees its slot once nothing is left to send,
  // any other is reset by CANCEL.
  void release(Stream& stream);

  // Graceful end (RFC 9113 section 6.8): GOAWAY in two steps (server) or one (client); streams
  // finish.
  void drain(timer::Instant now);
  // GOAWAY with a code; closed() holds from then on.
  void close(ErrorCode code, stats::Reason reason);

  bool draining() const { return goaway_sent_ || goaway_received_; }
  // No stream is left and none will come: the transport can be closed.
  bool drained() const {
    const bool last = options_.role == Role::client ? draining() : refusing_;
    return last && table_.size() == 0;
  }
  // Over: send what prepare() still gives (our GOAWAY), then close the transport. No event will
  // follow; the owner ends the streams() that are left and releases them.
  bool closed() const { return closed_; }
  ErrorCode error() const { return error_; }
  stats::Reason reason() const { return reason_; }
  // Slots that the connection holds, those included that wait for release().
  std::span<Stream* const> streams() const { return table_.streams(); }
  Role role() const { return options_.role; }
  bool peer_ready() const { return settings_received_; }

 private:
  enum class Body : uint8_t { none, data, fragment, ignored };
  using PendingList = StreamList<&Stream::next_>;
  using ReadyList = StreamList<&Stream::next_ready_>;

  // connection.cc: what the owner asks for.
  bool write_block(Stream& stream, std::span<const Field> pseudo, std::span<const Field> fields,
                   bool end);
  Stream* make_stream(uint32_t id);
  bool is_half_full(const Stream& stream) const;
  void leave_queue(Stream& stream, uint64_t memory);
  void drop_queued(Stream& stream);
  void drop_received(Stream& stream);
  void forget(Stream& stream, uint64_t occupied);
  void credit_stream(Stream& stream, uint32_t bytes);
  void mark(Stream& stream, uint8_t pending);
  void mark_ready(Stream& stream);
  void free_if_done(Stream& stream);
  void local_reset(Stream& stream, ErrorCode code);
  bool put_control(FrameType type, uint8_t flags, uint32_t stream,
                   std::span<const uint8_t> payload);
  void put_settings();
  void put_goaway(uint32_t last, ErrorCode code);
  void fail(ErrorCode code, stats::Reason reason);
  void stop_streams_above(uint32_t last);
  void remote_reset(Stream& stream, ErrorCode code);

  // receive.cc: the frame machine. Each step returns false when input has to stop: an error, or no
  // buffer.
  bool take_preface(packet::Chain& bytes);
  bool take_header(packet::Chain& bytes);
  bool begin_frame();
  bool begin_data();
  bool begin_headers();
  bool begin_continuation();
  bool begin_settings();
  bool check_fixed(uint32_t size, bool on_stream);
  bool take_payload(packet::Chain& bytes);
  bool take_prefix(packet::Chain& bytes);
  bool on_prefix();
  bool take_body(packet::Chain& bytes);
  bool deliver(packet::Chain& bytes, uint32_t n);
  bool keep(Stream& stream, packet::Chain& bytes, uint32_t n);
  bool keep_fragment(packet::Chain& bytes, uint32_t n);
  bool finish_frame();
  bool on_data_end();
  bool on_setting(Setting setting, uint32_t value);
  bool on_initial_window(uint32_t value);
  bool on_ping();
  bool on_goaway();
  bool on_window_update();
  bool on_rst_stream();
  bool on_priority();
  bool stream_error(uint32_t id, ErrorCode code);
  void put_reset(uint32_t id, ErrorCode code);
  bool connection_error(ErrorCode code, stats::Reason reason);
  bool spend(Budget& budget, Rate rate, stats::Reason reason);
  bool spend_ignored();
  void credit_connection(uint32_t bytes);
  void grow_windows(uint32_t read);
  bool is_idle(uint32_t id) const;

  // header_block.cc: HEADERS with their CONTINUATIONs, complete.
  bool finish_block();
  bool decode_block();
  bool on_request_block(uint32_t id, bool end);
  bool has_place() const;
  bool refuse_stream(uint32_t id);
  bool on_response_block(Stream& stream, bool end);
  bool on_trailers(Stream& stream, bool end);
  bool on_stream_end(Stream& stream);
  void begin_ordinary(Stream& stream, const Request& request);
  void answer_ordinary(Stream& stream);

  // send.cc: composing.
  bool stage_control(uint32_t max);
  bool stage_pending(uint32_t max);
  bool stage_stream(Stream& stream, uint32_t max);
  bool stage_headers(Stream& stream, uint32_t max);
  void on_end_staged(Stream& stream);
  bool has_room(uint32_t payload, uint32_t max) const;
  // A server says nothing before the client's preface.
  bool starting() const { return preface_left_ != 0; }
  void stage_data(uint32_t max);
  bool stage_frame(Stream& stream, uint32_t max);
  Stream* next_ready();
  void drop_reset_ready();
  void stage(const FrameHeader& header, std::span<const uint8_t> payload);
  bool stage_window_update(uint32_t stream, uint32_t bytes, uint32_t max);

  static constexpr uint64_t kLeastShare = 64u << 10;
  static constexpr uint32_t kControlRoom = 512;
  // What one received frame may need of it: a PING's answer with a GOAWAY behind it.
  static constexpr uint32_t kControlReserve = 64;
  static constexpr uint32_t kStagedRoom = 2048;
  // Payloads up to this are copied beside their header, so that several small frames share a
  // record.
  static constexpr uint32_t kInlinePayload = 512;

  Context& context_;
  Handler& handler_;
  Options options_;
  nghttp2_hd_inflater* inflater_ = nullptr;
  timer::Instant now_{};

  // Sending.
  int64_t send_window_ = kDefaultWindow;
  uint32_t peer_window_ = kDefaultWindow;  // SETTINGS_INITIAL_WINDOW_SIZE
  uint32_t peer_frame_ = kMaxFrameSize;
  uint32_t peer_streams_ = UINT32_MAX;  // before SETTINGS: our own limit
  uint32_t next_id_ = 1;
  uint32_t peer_table_ = NGHTTP2_DEFAULT_HEADER_TABLE_SIZE;
  bool table_shrinks_ = false;      // by the SETTINGS that are being received
  bool table_size_update_ = false;  // the peer's decoder expects one in the next block that is sent
  StreamTable table_;
  PendingList pending_;
  ReadyList fresh_;
  ReadyList round_;
  std::array<uint8_t, kControlRoom> control_;
  uint16_t control_used_ = 0;
  std::array<uint8_t, kStagedRoom> staged_;
  uint16_t staged_used_ = 0;
  packet::Chain staged_payload_;

  // Receiving.
  int64_t receive_window_ = kDefaultWindow;  // what the peer may still send
  uint32_t credit_ = 0;                      // freed, not announced yet
  uint64_t occupied_ = 0;                    // memory that the streams hold for what is unread
  uint64_t withheld_ = 0;                    // received above the worker's budget, no credit yet
  uint32_t window_;                          // that receive_window_ and credit_ are part of
  uint64_t read_ = 0;                        // since read_since_
  timer::Instant read_since_{};
  timer::Duration round_trip_{};
  std::array<uint8_t, kFrameHeaderSize> header_;
  std::array<uint8_t, 8> prefix_;
  uint8_t header_used_ = 0;
  uint8_t preface_left_ = 0;
  uint8_t prefix_used_ = 0;
  uint8_t prefix_wanted_ = 0;
  FrameHeader frame_;
  uint32_t body_left_ = 0;
  uint32_t padding_left_ = 0;
  Body body_ = Body::none;
  bool in_frame_ = false;
  packet::Chain block_;        // compressed header block so far
  uint32_t block_stream_ = 0;  // CONTINUATION is expected for it
  uint8_t block_flags_ = 0;
  uint8_t continuations_ = 0;
  bool block_is_new_ = false;  // opens a stream
  bool block_self_dependent_ = false;
  uint32_t last_peer_id_ = 0;         // server: highest stream that the client opened
  uint32_t last_named_ = kMaxWindow;  // by our GOAWAYs: what the next may name at most
  ClosedStreams closed_streams_;

  // Limits.
  Budget early_resets_{kEarlyResets};
  Budget forced_resets_{kForcedResets};
  Budget pings_{kPings};
  Budget settings_{kSettings};
  Budget empty_frames_{kEmptyFrames};
  Budget ignored_frames_{kIgnoredFrames};
  uint64_t window_updates_left_ = kWindowUpdateBurst;

  // Life.
  timer::Instant last_heard_{};
  timer::Instant settings_deadline_ = timer::kNever;
  timer::Instant ping_sent_ = timer::kNever;
  timer::Instant block_started_ = timer::kNever;
  timer::Instant second_goaway_ = timer::kNever;
  bool settings_received_ : 1 = false;
  bool drain_wanted_ : 1 = false;
  bool goaway_sent_ : 1 = false;
  bool refusing_ : 1 = false;  // the final GOAWAY is out: no new streams are taken
  bool goaway_received_ : 1 = false;
  bool closed_ : 1 = false;
  bool fresh_turn_ : 1 = false;
  bool ready_was_reset_ : 1 = false;  // a stream on a round
  bool starved_ : 1 = false;
  ErrorCode error_ = ErrorCode::no_error;
  stats::Reason reason_{};
};

}  // namespace isthmus::h2
