// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// The console's grammar. One table of commands is the parser, the help and docs/console.md.
//
// A grammar is words separated by spaces:
//   stats|info    one of these words
//   <N>           a number, decimal or 0x
//   <PORT|all>    any text, or the word
//   [x]           x may be left out (only at the end)
// A command whose first word is "show" takes a last word "json" besides.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace isthmus::app {

using Json = nlohmann::ordered_json;

class Application;

// What was typed, by the grammar's own spelling of each place: arguments.text("PORT|all").
class Arguments {
 public:
  bool json = false;

  void set(std::string place, std::string value) { values_[std::move(place)] = std::move(value); }
  // Empty when the place was left out.
  std::string text(const std::string& place) const;
  std::optional<uint64_t> number(const std::string& place) const;

 private:
  std::map<std::string, std::string> values_;
};

struct Command {
  const char* section;  // of the help
  const char* grammar;
  const char* help;
  // Gives a value; throws CommandError to refuse.
  Json (*run)(Application& application, const Arguments& arguments);
  // The value for people; null: print_value().
  std::string (*print)(const Json& value);
};

// A command was understood but cannot be done.
class CommandError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

struct ParseError {
  std::string token;     // empty: the line ended too early
  std::string expected;  // "stats|info|<PORT|all>"
  std::string to_string() const;
};

struct Match {
  const Command* command;
  Arguments arguments;
};

inline constexpr size_t kMaxLine = 1024;  // bytes of a console line
inline constexpr size_t kMaxTokens = 32;

class CommandTable {
 public:
  // The commands must outlive the table. Aborts on a malformed grammar: they are constants.
  explicit CommandTable(std::span<const Command> commands);

  // An empty line or a comment (#) is no command: a Match with a null command.
  std::variant<Match, ParseError> parse(std::string_view line) const;

  // The list of sections, or the commands of one, or of "all". Empty for an unknown section.
  std::string help(std::string_view section) const;
  std::vector<std::string> sections() const;
  // docs/console.md.
  std::string markdown() const;

 private:
  struct Place {
    std::string spelling;  // "stats|info", "PORT|all": the arguments' key
    std::vector<std::string> literals;
    bool number = false;  // <N>
    bool any = false;     // <TEXT>
    bool optional = false;

    bool accepts(std::string_view token) const;
    std::string expected() const;
  };
  struct Entry {
    const Command* command;
    std::vector<Place> places;
    bool json;
  };
  // How far an entry follows the tokens: the place reached by each, or where it stopped.
  struct Progress {
    size_t tokens = 0;      // that were accepted
    bool complete = false;  // nothing that is required is missing
    Arguments arguments;
    std::vector<std::string> expected_next;  // what could have come after them
  };

  static Entry compile(const Command& command);
  static Progress follow(const Entry& entry, std::span<const std::string> tokens);

  std::vector<Entry> entries_;
};

}  // namespace isthmus::app
