"""Numbers from annotation text, line by line: a line that cannot be read keeps its place."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]
NUMBER = re.compile(
    r"[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?|[+-]?(nan|inf|infinity)", re.I | re.A
)  # each digit can match in one way only: a line of a million stays linear


class Rows(NamedTuple):
    """The numbers of each line [lines, columns], NaN on those that `readable` says are anything else."""

    values: Array
    readable: Array


def parse_rows(text: str, columns: int, more: bool = False) -> Rows:
    """Parse `columns` numbers a line, split by commas, semicolons or blanks; `more` are cut if allowed."""
    parsed = [parse_line(line) for line in split_lines(text)]
    fits = [len(row) == columns or (more and len(row) > columns) for row in parsed]
    gap = [np.nan] * columns
    values = [row[:columns] if fit else gap for row, fit in zip(parsed, fits, strict=True)]
    array = np.array(values, dtype=np.float64).reshape(-1, columns)
    return Rows(array, np.array(fits, dtype=bool))


def parse_boxes(text: str) -> Array:
    """Parse one box a line to [lines, 4]; NaN where a line is anything else."""
    return parse_rows(text, 4).values


def parse_labels(text: str) -> Array:
    """Parse one number a line to [lines]; NaN where a line is anything else."""
    return parse_rows(text, 1).values[:, 0]


def parse_flags(text: str) -> Array:
    """Parse flags that stand one a line, or all on one line."""
    lines = split_lines(text)
    return np.array(parse_line(lines[0])) if len(lines) == 1 else parse_labels(text)


def parse_line(line: str) -> list[float]:
    """Parse the numbers of a line; none when a word of it is not a number."""
    words = _split_words(line)
    if not all(NUMBER.fullmatch(word) for word in words):
        return []
    return [float(word) for word in words]


def split_lines(text: str) -> list[str]:
    """Split into lines; an empty one inside the text counts, those at its end do not."""
    text = text.rstrip()
    return text.split("\n") if text else []


def corners_to_xywh(corners: Array) -> Array:
    """Turn left, top, right, bottom into left, top, width, height."""
    return np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)


def move_origin(boxes_xywh: Array) -> Array:
    """Turn boxes whose first pixel is (1, 1) into boxes whose first pixel is (0, 0)."""
    moved: Array = boxes_xywh - [1, 1, 0, 0]
    return moved


def _split_words(line: str) -> list[str]:
    if "," in line or ";" in line:  # an empty field between them is a word that is no number
        return [word.strip() for word in re.split(r"[,;]", line.strip().rstrip(",;"))]
    return line.split()
