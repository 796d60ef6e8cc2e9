"""Read JSON from elsewhere, and refuse what no record can hold.

Python's reader accepts numbers that overflow, half of a surrogate pair, and nesting that exhausts the stack.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

# Measured values lie between these; beyond them sums and quotients overflow.
SMALLEST, LARGEST = 1e-100, 1e18
MAX_DEPTH = 50  # later code may be recursive


def load_json(path: Path) -> Any:
    """Read a JSON file.

    Raises
    ------
    OSError
        If it cannot be read.
    ValueError
        If it is not UTF-8 or not JSON, or holds a value that no record can hold.
    """
    try:
        content = json.loads(
            path.read_text("utf-8"), parse_constant=_refuse_number, parse_float=_to_float, parse_int=_to_int
        )
    except RecursionError:
        raise ValueError(f"more than {MAX_DEPTH} levels") from None
    if _depth(content) > MAX_DEPTH:
        raise ValueError(f"more than {MAX_DEPTH} levels")
    json.dumps(content, ensure_ascii=False).encode()  # raises for half of a surrogate pair, which no page can hold
    return content


def _depth(content: object) -> int:
    inner = content.values() if isinstance(content, dict) else content if isinstance(content, list) else ()
    return 1 + max(map(_depth, inner), default=0)


def _to_float(text: str) -> float:
    number = float(text)
    return number if number == 0 or SMALLEST <= abs(number) <= LARGEST else _refuse_number(text)


def _to_int(text: str) -> int:
    number = int(text)
    return number if abs(number) <= LARGEST else int(_refuse_number(text))


def _refuse_number(text: str) -> float:
    raise ValueError(f"{text[:20]} is not a number that a run can measure")
