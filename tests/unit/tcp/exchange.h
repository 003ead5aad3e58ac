// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Exchanges as packetdrill writes them, one line each:
//
//   +0.1 < P. 1:101(100) ack 1 win 257 <mss 1460,sackOK,TS val 7 ecr 0,wscale 3,sack 5:9>
//        > . 1:1(0) ack 101
//
// '<' is given to the engine, '>' must be the next packet that leaves; what a '>' line does not
// state is not compared. Flags as packetdrill has them ('.' is ACK), sequence numbers relative as
// in script.h. +seconds passes before '<'; for '>' the packet must leave just then, and none
// before. A SYN to nobody is accepted. Other lines: connect | write N | read N (so many are there)
// | close | abort | +seconds | state NAME | nothing (no packet has left unexpectedly) | # comment.
#pragma once

#include <string_view>

#include "script.h"

namespace isthmus::tcp {

class Exchange : public Script {
 protected:
  void play(std::string_view text);

 private:
  void play_line(std::string_view line);
  void give(const In& packet);
  void expect_packet(std::string_view rest);
  void command(std::string_view verb, std::string_view rest);
};

}  // namespace isthmus::tcp
