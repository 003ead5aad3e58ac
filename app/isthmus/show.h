// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// What the display commands give, and how the ones with a shape of their own print it.
#pragma once

#include <string>

#include "application.h"
#include "command_table.h"

namespace isthmus::app {

// What a worker copies and looks at for a list in one task: tens of microseconds.
inline constexpr uint32_t kCopiedAtOnce = 64;
inline constexpr uint32_t kLookedAtAtOnce = 4096;

Json show_port_stats(Application& application, const Arguments& arguments);
std::string print_port_stats(const Json& ports);
Json show_port_info(Application& application, const Arguments& arguments);
std::string print_port_info(const Json& ports);
Json clear_port_stats(Application& application, const Arguments& arguments);
// testpmd's summary at `stop`.
std::string print_forward_stats(Application& application);

Json show_flows(Application& application, const Arguments& arguments);
Json show_walk(Application& application, const Arguments& arguments);
std::string print_walk(const Json& walk);

Json show_drops(Application& application, const Arguments& arguments);
Json show_limits(Application& application, const Arguments& arguments);
Json show_workers(Application& application, const Arguments& arguments);
Json show_pools(Application& application, const Arguments& arguments);
Json show_tcp(Application& application, const Arguments& arguments);
std::string print_tcp(const Json& value);
Json show_connection(Application& application, const Arguments& arguments);
std::string print_connection(const Json& value);
Json show_tunnels(Application& application, const Arguments& arguments);
Json show_tls(Application& application, const Arguments& arguments);
Json show_mesh(Application& application, const Arguments& arguments);

}  // namespace isthmus::app
