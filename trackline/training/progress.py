"""How far an epoch is: a bar in a terminal, a plain line now and then in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

LOG_SECONDS = 60.0


@contextmanager
def show_progress(
    title: str, done: int, total: int, silent: bool
) -> Iterator[Callable[[], object]]:
    """Give a function to call after each batch; `done` of `total` lie behind already."""
    if silent:
        yield lambda: None
    elif not sys.stderr.isatty():
        yield _Log(title, done, total).update
    else:
        with tqdm(initial=done, total=total, desc=title, unit="batch", leave=False) as bar:
            yield bar.update


class _Log:
    """A line a minute, without control characters; short epochs print none."""

    def __init__(self, title: str, done: int, total: int) -> None:
        self.title, self.done, self.total = title, done, total
        self.first, self.start = done, time.monotonic()
        self.last = self.start

    def update(self) -> None:
        self.done += 1
        now = time.monotonic()
        if now - self.last < LOG_SECONDS:
            return
        self.last = now
        left = (self.total - self.done) * (now - self.start) / (self.done - self.first)
        text = f"{self.title}: {self.done}/{self.total} batches, {left / 60:.1f} minutes left"
        print(text, file=sys.stderr, flush=True)
