// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#pragma once

#include <span>

#include "command_table.h"

namespace isthmus::app {

// Every command of the console, in the order of the help.
std::span<const Command> commands();

}  // namespace isthmus::app
