"""Training under torchrun, in this pod."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from types import FrameType

from trackline.errors import TracklineError


def torchrun(module: str, arguments: Sequence[str], processes: str = "1") -> None:
    """Run `python -m module` in so many processes ("gpu": one a GPU); raises TracklineError when one fails.

    Of several, a lost one is started again with the others, and they go on from their checkpoint. A
    termination, which a preempted pod gets as SIGTERM, is handed on so that training can save itself.
    """
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", processes]
    command += ["--max-restarts", "3"] if processes != "1" else []
    command += ["-m", module, *arguments]
    child = subprocess.Popen(command)

    def hand_on(number: int, _: FrameType | None) -> None:
        child.send_signal(number)

    before = signal.signal(signal.SIGTERM, hand_on)
    try:
        code = child.wait()
    finally:
        signal.signal(signal.SIGTERM, before)
        child.kill()
    if code:
        raise TracklineError(
            f"{module} ended with exit code {code} under torchrun; its own message stands above"
        )
