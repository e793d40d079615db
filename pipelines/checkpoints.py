"""A training's state in object storage, where pods share no folder."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

WATCH_SECONDS = 5.0


@contextmanager
def kept(place: str, scratch: Path) -> Iterator[Path]:
    """Give the file in which training keeps its state: `place` itself, or for s3:// one in `scratch`.

    That one is brought from `place` first, taken there again whenever training has written it, at the
    latest when the block ends, and removed there when it ends well.
    """
    if "://" not in place:
        yield Path(place)
        return
    mirror = Mirror(place, scratch / "checkpoint.safetensors")
    mirror.bring()
    done = threading.Event()
    watcher = threading.Thread(target=mirror.watch, args=(done,), daemon=True)
    watcher.start()
    try:
        yield mirror.file
    finally:
        done.set()
        watcher.join()
    mirror.remove()


@contextmanager
def _going_on() -> Iterator[None]:
    """Training goes on, and what it learned is kept, when the storage is away for a while."""
    try:
        yield
    except Exception as error:
        print(f"warning: the checkpoint's copy is not up to date: {error}", flush=True)


class Mirror:
    """A file and its copy in object storage."""

    def __init__(self, place: str, file: Path) -> None:
        from fsspec.core import url_to_fs

        self.file = file
        self.system, self.key = url_to_fs(place, use_listings_cache=False)
        self._taken: tuple[int, int] | None = None

    def bring(self) -> None:
        """Bring the copy of an earlier try, if there is one."""
        if self.system.exists(self.key):
            self.system.get_file(self.key, str(self.file))
            self._taken = self._look()

    def watch(self, done: threading.Event) -> None:
        """Take each new state as it appears, and once more in the end."""
        ended = False
        while not ended:
            ended = done.wait(WATCH_SECONDS)
            with _going_on():
                self.take()

    def take(self) -> None:
        """Copy the file as it is now, whole: training replaces it and never writes into it."""
        if (now := self._look()) in (None, self._taken):
            return
        still = self.file.with_name("taking")
        still.unlink(missing_ok=True)
        os.link(self.file, still)
        self.system.put_file(str(still), self.key)
        self._taken = now

    def remove(self) -> None:
        """Remove the copy: the training has ended well."""
        with _going_on():
            if self.system.exists(self.key):
                self.system.rm_file(self.key)

    def _look(self) -> tuple[int, int] | None:
        try:
            found = self.file.stat()
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_mtime_ns
