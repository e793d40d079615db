"""What a step leaves in its run's journal: that it runs, the last lines it printed, and how it ended."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

from trackline import journal
from trackline.errors import Interrupted, TracklineError

TAIL_LINES = 200
REPORT_SECONDS = 30.0


@contextmanager
def recorded(place: str | None, step: str) -> Iterator[journal.Entry]:
    """Keep in the journal at `place` that a step runs, and how it ended; gives its entry."""
    logging.getLogger().setLevel(logging.WARNING)  # kfp turns every library's chatter on
    entry, clock = journal.begin(place, step), time.perf_counter()
    lines: deque[str] = deque(maxlen=TAIL_LINES)
    try:
        with _ending_in_words(), _reporting(place, entry, lines), _remembering(lines):
            yield entry
        entry["state"] = "succeeded"
    except BaseException as error:
        expected = isinstance(error, TracklineError)
        trace = [] if expected else "".join(traceback.format_exception(error)).splitlines()
        entry |= {"state": "failed", "error": str(error) or type(error).__name__}
        entry |= {"exit_code": getattr(error, "exit_code", 1), "log": [*lines, *trace]}
        raise
    finally:
        entry["seconds"] = round(time.perf_counter() - clock, 3)
        _keep(place, entry)


def _keep(place: str | None, entry: journal.Entry) -> None:
    """Write an entry; hours of training are not lost because the journal is away for a moment."""
    try:
        if place is not None:
            journal.write(place, entry)
    except Exception as error:
        print(f"warning: the journal cannot be written: {error}", file=sys.stderr, flush=True)


@contextmanager
def _ending_in_words() -> Iterator[None]:
    """Let SIGTERM, which a pod gets when it is evicted or out of time, end the step as an error does."""

    def end(_number: int, _frame: FrameType | None) -> NoReturn:
        raise Interrupted(
            "told to stop by SIGTERM: the pod was evicted, its node drained, or its time was over"
        )

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _reporting(place: str | None, entry: journal.Entry, lines: deque[str]) -> Iterator[None]:
    """Keep the last lines while the step runs: who is killed for its memory can keep nothing then."""
    done = threading.Event()

    def report() -> None:
        while not done.wait(REPORT_SECONDS):
            _keep(place, entry | {"log": list(lines)})

    reporter = threading.Thread(target=report, daemon=True)
    reporter.start()
    try:
        yield
    finally:
        done.set()
        reporter.join()


@contextmanager
def _remembering(lines: deque[str]) -> Iterator[None]:
    """Put the last lines that this process and its children print into `lines`, printing them still."""
    kept = [os.dup(1), os.dup(2)]
    reading, writing = os.pipe()
    copier = threading.Thread(target=_copy, args=(reading, kept[0], lines), daemon=True)
    _redirect(writing, writing)
    os.close(writing)
    copier.start()
    try:
        yield
    finally:
        _redirect(*kept)
        copier.join(timeout=5)  # a child that lives on keeps the pipe open
        for handle in kept:
            os.close(handle)


def _redirect(out: int, err: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(out, 1)
    os.dup2(err, 2)


def _copy(source: int, target: int, lines: deque[str]) -> None:
    with os.fdopen(source, "rb", buffering=0) as stream:
        rest = b""
        while chunk := stream.read(65536):
            with suppress(OSError):
                os.write(target, chunk)
            *whole, rest = (rest + chunk).split(b"\n")
            lines.extend(line.decode(errors="replace") for line in whole)
        if rest:
            lines.append(rest.decode(errors="replace"))
