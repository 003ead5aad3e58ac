// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "print.h"

#include <algorithm>
#include <fmt/format.h>
#include <vector>

namespace isthmus::app {
namespace {

std::string cell(const Json& value) {
  if (value.is_string()) {
    const auto& text = value.get_ref<const std::string&>();
    return text.empty() ? "-" : text;
  }
  if (value.is_null()) return "-";
  if (value.is_boolean()) return value.get<bool>() ? "yes" : "no";
  if (value.is_number_float()) return fmt::format("{:.1f}", value.get<double>());
  if (value.is_array()) {
    std::string text;
    for (const auto& each : value) {
      if (!text.empty()) text += ",";
      text += cell(each);
    }
    return text.empty() ? "-" : text;
  }
  return value.dump();
}

std::string header(std::string name) {
  for (char& c : name) c = c == '_' ? ' ' : static_cast<char>(toupper(c));
  return name;
}

std::string print_table(const Json& rows) {
  if (rows.empty()) return "(none)\n";
  std::vector<std::vector<std::string>> lines(1);
  for (const auto& column : rows.front().items()) lines[0].push_back(header(column.key()));
  for (const auto& row : rows) {
    auto& line = lines.emplace_back();
    for (const auto& column : row.items()) line.push_back(cell(column.value()));
  }
  std::vector<size_t> widths(lines[0].size());
  for (const auto& line : lines) {
    for (size_t i = 0; i < widths.size() && i < line.size(); ++i) {
      widths[i] = std::max(widths[i], line[i].size());
    }
  }
  std::string text;
  for (const auto& line : lines) {
    for (size_t i = 0; i < line.size(); ++i) {
      const bool last = i + 1 == line.size();
      text += last ? line[i] : fmt::format("{:<{}}  ", line[i], i < widths.size() ? widths[i] : 0);
    }
    text += "\n";
  }
  return text;
}

}  // namespace

std::string print_value(const Json& value) {
  if (value.is_null()) return "";
  if (value.is_string()) return value.get<std::string>();
  if (value.is_array() && (value.empty() || value.front().is_object())) return print_table(value);
  if (!value.is_object()) return cell(value) + "\n";
  std::string text;
  for (const auto& item : value.items()) {
    const bool nested =
        item.value().is_array() && !item.value().empty() && item.value().front().is_object();
    text += nested ? fmt::format("{}:\n{}", item.key(), print_table(item.value()))
                   : fmt::format("{}: {}\n", item.key(), cell(item.value()));
  }
  return text;
}

bool has_text(const Json& row, const std::string& text) {
  return std::any_of(row.begin(), row.end(), [&text](const Json& value) {
    return (value.is_string() ? value.get<std::string>() : value.dump()).find(text) !=
           std::string::npos;
  });
}

}  // namespace isthmus::app
