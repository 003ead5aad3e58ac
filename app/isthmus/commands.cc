// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "commands.h"

#include <fmt/format.h>
#include <stdexcept>

#include "application.h"
#include "show.h"

namespace isthmus::app {
namespace {

Json start(Application& application, const Arguments&) {
  if (application.forwarding()) throw CommandError("packet forwarding already started");
  application.start();
  return nullptr;
}

Json stop(Application& application, const Arguments&) {
  if (!application.forwarding()) throw CommandError("packet forwarding not started");
  application.stop();
  return print_forward_stats(application);
}

Json quit(Application& application, const Arguments&) {
  application.quit();
  return nullptr;
}

Json help(Application& application, const Arguments& arguments) {
  const std::string section = arguments.text("SECTION");
  std::string text = application.commands().help(section);
  if (text.empty()) throw CommandError(fmt::format("no section '{}' in the help", section));
  return text;
}

Json load(Application& application, const Arguments& arguments) {
  const std::string file = arguments.text("FILE");
  if (!application.run_file(file)) throw CommandError(fmt::format("'{}' failed", file));
  return nullptr;
}

Json reload(Application& application, const Arguments&) {
  try {
    application.reload();
  } catch (const std::runtime_error& error) {
    throw CommandError(fmt::format("not reloaded: {}", error.what()));
  }
  return nullptr;
}

Json clear_drops(Application& application, const Arguments&) {
  application.clear_drops();
  return nullptr;
}

constexpr Command kCommands[] = {
    {"control", "start", "Takes packets from the ports.", start, nullptr},
    {"control", "stop",
     "Leaves packets in the ports' queues, and prints what was forwarded. Timers go on.", stop,
     nullptr},
    {"control", "reload",
     "Reads the configuration and its files again, as SIGHUP does; refused whole when wrong.",
     reload, nullptr},
    {"control", "load <FILE>", "Runs the commands of a file.", load, nullptr},
    {"control", "help [<SECTION>]", "Lists the sections, or the commands of one, or of 'all'.",
     help, nullptr},
    {"control", "quit", "Drains and exits, as SIGTERM does.", quit, nullptr},
    {"display", "show port stats <PORT|all>", "Counters of a port, by number or name.",
     show_port_stats, print_port_stats},
    {"display", "show port info <PORT|all>", "What a port is and can do.", show_port_info,
     print_port_info},
    {"display", "show flows [<TEXT>]",
     "Live flows and the last that ended; with a text, those whose line has it.", show_flows,
     nullptr},
    {"display", "show flow <N> walk",
     "The steps of the traffic-path article, with this flow's own facts.", show_walk, print_walk},
    {"display", "show drops", "Packets and connections dropped or refused, by reason.", show_drops,
     nullptr},
    {"display", "show limits", "What each workload and client has of its quotas on each worker.",
     show_limits, nullptr},
    {"display", "show workers", "Where each worker's cycles go.", show_workers, nullptr},
    {"display", "show pools", "Mbufs of each worker's pools, in use and free.", show_pools,
     nullptr},
    {"display", "show tcp <N>",
     "One TCP connection, as `ss -ti` has it, and why it isn't sending right now.", show_connection,
     print_connection},
    {"display", "show tcp [<TEXT>]",
     "TCP connections that end here; with a text, those whose address or state has it.", show_tcp,
     print_tcp},
    {"display", "show tunnels", "HBONE connections.", show_tunnels, nullptr},
    {"display", "show tls", "TLS records, their plaintext and KeyUpdates of each worker.", show_tls,
     nullptr},
    {"display", "show mesh [workloads|services|policies]",
     "The mesh as the gateway knows it; in all, or one kind.", show_mesh, nullptr},
    {"clear", "clear port stats <PORT|all>", "Sets a port's counters to zero.", clear_port_stats,
     nullptr},
    {"clear", "clear drops", "Sets the counters of drops to zero.", clear_drops, nullptr},
};

}  // namespace

std::span<const Command> commands() {
  return kCommands;
}

}  // namespace isthmus::app
