"""How much code a variant owns: lines of the network, the losses and the tracker that only it runs.

Nobody marks lines by hand. A tiny network of the variant is built, takes a training step and follows
a target while every executed line is noted; a line is owned when the plain tracker, doing the same,
never runs it. A statement counts all its lines, an `if`, a class or a function its head as well when
nothing but owned lines runs inside; comments, blank lines and docstrings count nothing. Parameters in
config/ and the metrics of evaluation are not counted.
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch

from trackline import config
from trackline.data.clips import Batch
from trackline.models.network import Network
from trackline.tracking.tracker import Tracker
from trackline.training.loop import Trainer

PACKAGE = Path(__file__).parents[1]
Lines = dict[Path, set[int]]


def count_owned_lines(model: config.Model) -> int:
    """Lines that a network of this variant runs and one of variant `tracking` does not."""
    tracking = replace(model, variant="tracking")  # first: it fills caches
    plain, mine = (trace_lines(partial(exercise, each)) for each in (tracking, model))
    return sum(len(find_owned(path, lines, plain[path])) for path, lines in mine.items())


def exercise(model: config.Model) -> None:
    """Build, train and track with a tiny network of a model's kind."""
    tiny = replace(
        model,
        template=config.Crop(32, 2.0),
        search=config.Crop(64, 4.0),
        backbone=config.Backbone(16, "patch", 8, 2, 2, drop_path=0.0),
        elimination=config.Elimination((1,), (0.7,)),
        history=config.History(4, 4, 2, (1,), 1),
        head_width=16,
    )
    size = {"templates": (2, 32, 32, 3), "searches": (2, 2, 64, 64, 3)}
    images = {k: torch.zeros(*shape, dtype=torch.uint8) for k, shape in size.items()}
    box = torch.tensor([0.4, 0.4, 0.2, 0.2])
    batch = Batch(
        **images,
        template_boxes_xywh=box.expand(2, 4),
        boxes_xywh=box.expand(2, 2, 4),
        labels=torch.tensor([0, 1]),
    )
    torch.manual_seed(0)  # what happens to a random box decides which lines run
    network = Network(tiny, 2)
    Trainer(network, config.Train(batch=2), torch.device("cpu")).step(batch, keep=0.7)
    tracker = Tracker(network.eval(), config.Track())
    image = np.zeros((80, 80, 3), np.uint8)
    tracker.start(0, image, np.array([30.0, 30.0, 20.0, 20.0]))
    for _ in range(3):
        tracker.step([0], [image])


def trace_lines(action: Callable[[], None]) -> Lines:
    """The lines of this package that run during an action."""
    lines: Lines = defaultdict(set)

    def follow(frame: FrameType, event: str, _: Any) -> Any:
        name = frame.f_code.co_filename
        if not name.startswith(str(PACKAGE)):
            return None
        if event == "line":
            lines[Path(name)].add(frame.f_lineno)
        return follow

    before, state = sys.gettrace(), torch.get_rng_state()
    sys.settrace(follow)
    try:
        action()
    finally:
        sys.settrace(before)
        torch.set_rng_state(state)
    return lines


def find_owned(path: Path, mine: set[int], others: set[int]) -> set[int]:
    """The lines of a file that belong to what only `mine` runs."""
    text = path.read_text(encoding="utf-8")
    owned: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.stmt):
            continue
        span = set(range(_start(node), (node.end_lineno or node.lineno) + 1))
        if (span & mine) and not (span & others):
            owned |= _head(node) if _body(node) else span
    return {n for n in owned if _is_code(text.splitlines()[n - 1])} - _docstrings(text)


def _start(node: ast.stmt) -> int:
    if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.decorator_list:
        return node.decorator_list[0].lineno
    return node.lineno


def _body(node: ast.stmt) -> list[ast.stmt]:
    body = getattr(node, "body", [])
    return body if isinstance(body, list) else []


def _head(node: ast.stmt) -> set[int]:
    return set(range(_start(node), _body(node)[0].lineno))


def _is_code(line: str) -> bool:
    return bool(line.strip()) and not line.strip().startswith("#")


def _docstrings(text: str) -> set[int]:
    found: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            found |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return found
