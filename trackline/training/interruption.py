"""Being told to stop: SIGTERM or Ctrl-C asks, and the loop stops where everything can be saved."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopRequest:
    """Whether someone asked for an end; ask a second time by Ctrl-C and it ends at once, unsaved."""

    made = False

    def make(self, number: int, _frame: FrameType | None) -> None:
        """The signal handler."""
        self.made = True
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def heed_signals() -> Iterator[StopRequest]:
    """Turn SIGTERM and SIGINT into a request while the block runs (in the main thread alone)."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {n: signal.signal(n, request.make) for n in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
