# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: Isthmus authors
"""Writes dictionaries and lists as YAML that people read."""

from __future__ import annotations

import json
import re
from typing import Any

Value = Any  # None, bool, int, str, and lists and dictionaries of them

_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_./-]*\Z|\d+(\.\d+){3}(/\d+)?\Z")
_WORDS = {"true", "false", "yes", "no", "on", "off", "null"}


def dump(value: Value) -> str:
    return "\n".join(_lines(value)) + "\n"


def _lines(value: Value) -> list[str]:
    if isinstance(value, dict) and value:
        out = []
        for key, item in value.items():
            nested = _lines(item)
            if _is_inline(item):
                out.append(f"{_scalar(key)}: {nested[0]}")
            else:
                indent = "" if isinstance(item, list) else "  "
                out += [f"{_scalar(key)}:", *(indent + line for line in nested)]
        return out
    if isinstance(value, list) and value:
        out = []
        for item in value:
            first, *rest = _lines(item)
            out += [f"- {first}", *(f"  {line}" for line in rest)]
        return out
    return [_scalar(value)]


def _is_inline(value: Value) -> bool:
    return not isinstance(value, (dict, list)) or not value


def _scalar(value: Value) -> str:
    if value is None:
        return ""
    if isinstance(value, str) and _PLAIN.match(value) and value.lower() not in _WORDS:
        return value
    return json.dumps(value)
