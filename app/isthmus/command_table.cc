// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "command_table.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <fmt/format.h>

namespace isthmus::app {
namespace {

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  while (!text.empty()) {
    const size_t end = std::min(text.find(separator), text.size());
    if (end > 0) parts.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return parts;
}

std::string join(const std::vector<std::string>& parts, const char* separator) {
  std::string text;
  for (const auto& part : parts) {
    if (!text.empty()) text += separator;
    text += part;
  }
  return text;
}

std::optional<uint64_t> parse_number(std::string_view text) {
  int base = 10;
  if (text.substr(0, 2) == "0x") {
    base = 16;
    text.remove_prefix(2);
  }
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) return {};
  return value;
}

bool is_upper(std::string_view word) {
  return std::all_of(word.begin(), word.end(),
                     [](char c) { return (c >= 'A' && c <= 'Z') || c == '_'; });
}

std::vector<std::string> tokenize(std::string_view line) {
  std::string text(line.substr(0, line.find('#')));
  for (char& c : text) {
    if (c == '\t' || c == '\r') c = ' ';
  }
  return split(text, ' ');
}

}  // namespace

std::string Arguments::text(const std::string& place) const {
  const auto found = values_.find(place);
  return found == values_.end() ? std::string() : found->second;
}

std::optional<uint64_t> Arguments::number(const std::string& place) const {
  return parse_number(text(place));
}

std::string ParseError::to_string() const {
  if (expected.empty()) return fmt::format("token '{}': expected the end of the line", token);
  if (token.empty()) return fmt::format("end of line: expected {}", expected);
  return fmt::format("token '{}': expected {}", token, expected);
}

bool CommandTable::Place::accepts(std::string_view token) const {
  if (std::find(literals.begin(), literals.end(), token) != literals.end()) return true;
  return any || (number && parse_number(token));
}

std::string CommandTable::Place::expected() const {
  return number || any ? fmt::format("<{}>", spelling) : spelling;
}

CommandTable::CommandTable(std::span<const Command> commands) {
  for (const auto& command : commands) entries_.push_back(compile(command));
}

CommandTable::Entry CommandTable::compile(const Command& command) {
  Entry entry{&command, {}, false};
  for (std::string word : split(command.grammar, ' ')) {
    Place place;
    if (word.front() == '[') {
      if (word.back() != ']') std::abort();
      place.optional = true;
      word = word.substr(1, word.size() - 2);
    } else if (!entry.places.empty() && entry.places.back().optional) {
      std::abort();  // what may be left out stands at the end
    }
    const bool angle = word.front() == '<';
    if (angle) word = word.substr(1, word.size() - 2);
    place.spelling = word;
    for (auto& alternative : split(word, '|')) {
      if (angle && alternative == "N") {
        place.number = true;
      } else if (angle && is_upper(alternative)) {
        place.any = true;
      } else {
        place.literals.push_back(alternative);
      }
    }
    entry.places.push_back(std::move(place));
  }
  entry.json = entry.places.front().spelling == "show";
  return entry;
}

CommandTable::Progress CommandTable::follow(const Entry& entry,
                                            std::span<const std::string> tokens) {
  Progress progress;
  if (entry.json && tokens.size() > 1 && tokens.back() == "json") {
    progress.arguments.json = true;
    tokens = tokens.first(tokens.size() - 1);
  }
  size_t at = 0;
  for (const auto& token : tokens) {
    size_t next = at;
    while (next < entry.places.size() && !entry.places[next].accepts(token) &&
           entry.places[next].optional) {
      ++next;
    }
    if (next == entry.places.size() || !entry.places[next].accepts(token)) break;
    progress.arguments.set(entry.places[next].spelling, token);
    at = next + 1;
    ++progress.tokens;
  }
  const bool all = progress.tokens == tokens.size();
  if (all && progress.arguments.json) ++progress.tokens;
  progress.complete = all && (at == entry.places.size() || entry.places[at].optional);
  for (size_t i = at; i < entry.places.size(); ++i) {
    progress.expected_next.push_back(entry.places[i].expected());
    if (!entry.places[i].optional) break;
  }
  if (entry.json && at > 0 && (at == entry.places.size() || entry.places[at].optional)) {
    progress.expected_next.emplace_back("json");
  }
  return progress;
}

std::variant<Match, ParseError> CommandTable::parse(std::string_view line) const {
  const auto tokens = tokenize(line);
  if (tokens.empty()) return Match{nullptr, {}};
  if (tokens.size() > kMaxTokens) return ParseError{tokens[kMaxTokens], ""};
  size_t furthest = 0;
  std::vector<std::string> expected;
  for (const auto& entry : entries_) {
    Progress progress = follow(entry, tokens);
    if (progress.complete) return Match{entry.command, std::move(progress.arguments)};
    if (progress.tokens > furthest) {
      furthest = progress.tokens;
      expected.clear();
    }
    if (progress.tokens < furthest) continue;
    for (auto& word : progress.expected_next) {
      if (std::find(expected.begin(), expected.end(), word) == expected.end()) {
        expected.push_back(std::move(word));
      }
    }
  }
  return ParseError{furthest < tokens.size() ? tokens[furthest] : "", join(expected, "|")};
}

std::vector<std::string> CommandTable::sections() const {
  std::vector<std::string> names;
  for (const auto& entry : entries_) {
    if (std::find(names.begin(), names.end(), entry.command->section) == names.end()) {
      names.emplace_back(entry.command->section);
    }
  }
  return names;
}

std::string CommandTable::help(std::string_view section) const {
  if (section.empty()) {
    return fmt::format("\nHelp is available for the following sections:\n\n  {}\n  all\n\n",
                       join(sections(), "\n  "));
  }
  std::string text;
  for (const auto& entry : entries_) {
    if (section != "all" && section != entry.command->section) continue;
    text += fmt::format("{}{}\n    {}\n\n", entry.command->grammar, entry.json ? " [json]" : "",
                        entry.command->help);
  }
  return text;
}

std::string CommandTable::markdown() const {
  std::string text =
      "# Console\n\n"
      "<!-- Made by `isthmus --dump-commands` from the command table; a test compares. -->\n\n"
      "The console is on standard input with `-i` (prompt `isthmus> `) and on the UNIX socket "
      "that\n"
      "the configuration names (`console.socket`): one command per line, answers as they come. "
      "One\n"
      "command from a shell:\n\n"
      "```\necho 'show port stats all' | socat - UNIX-CONNECT:SOCKET\n```\n\n"
      "`a|b` is one of these words, `<N>` a number, `<TEXT>` any word, `[x]` may be left out, `#`\n"
      "begins a comment. Every `show` takes a last word `json`. A line that is not understood is\n"
      "answered with `line N: token 'xyz': expected ...`. `--cmdline-file` stops at the first "
      "error\n"
      "unless `--keep-going` is given.\n";
  for (const auto& section : sections()) {
    text += fmt::format("\n## {}\n\n| command | what it does |\n|---|---|\n", section);
    for (const auto& entry : entries_) {
      if (section != entry.command->section) continue;
      std::string grammar;
      for (const char c : std::string_view(entry.command->grammar)) {
        if (c == '|') grammar.push_back('\\');
        grammar.push_back(c);
      }
      text += fmt::format("| `{}` | {} |\n", grammar, entry.command->help);
    }
  }
  return text;
}

}  // namespace isthmus::app
