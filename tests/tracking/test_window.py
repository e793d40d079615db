"""The window in which a person draws the first box, on a display that nobody looks at."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from trackline.errors import UsageError
from trackline.tracking import window

tkinter = pytest.importorskip("tkinter", reason="this Python has no tkinter")
pytestmark = pytest.mark.skipif(shutil.which("Xvfb") is None, reason="no Xvfb on the PATH")
IMAGE = np.zeros((1440, 2560, 3), np.uint8)  # twice as large as the window


@pytest.fixture(scope="module", autouse=True)
def display() -> Iterator[None]:
    reading, writing = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(writing), "-screen", "0", "1600x1200x24"],
        pass_fds=[writing],
        stderr=subprocess.DEVNULL,
    )
    os.close(writing)
    with os.fdopen(reading) as said, pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISPLAY", f":{said.readline().strip()}")
        yield
    server.terminate()
    server.wait()


def act(monkeypatch: pytest.MonkeyPatch, *events: tuple[str, dict[str, int]]) -> None:
    """Let a person do this as soon as the window is there."""
    honest = window._Drawing.__init__

    def draw(self: window._Drawing, root: object, image: Any) -> None:
        honest(self, root, image)

        def play() -> None:
            self.window.focus_force()
            for name, place in events:
                target: Any = self.window if name in ("<Return>", "<Escape>") else self.canvas
                target.event_generate(name, **place)

        self.window.after(200, play)

    monkeypatch.setattr(window._Drawing, "__init__", draw)


DRAG = (("<ButtonPress-1>", {"x": 100, "y": 50}), ("<B1-Motion>", {"x": 160, "y": 90}))


def test_a_dragged_box_comes_in_the_image_s_own_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    act(monkeypatch, *DRAG, ("<Return>", {}))
    assert window.ask_box(IMAGE).tolist() == [200, 100, 120, 80]


def test_leaving_without_a_box_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    act(monkeypatch, *DRAG, ("<Escape>", {}))
    with pytest.raises(UsageError, match="no box was drawn; give its box"):
        window.ask_box(IMAGE)
