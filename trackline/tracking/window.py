"""A small window in which a person draws the target's box with the mouse."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from trackline.errors import UsageError

Image = np.ndarray[Any, Any]
LARGEST = (1280, 720)  # of the window; larger images are shown smaller
HINT = "Drag a box around the target, then press Enter (Esc leaves)"
BOX_INSTEAD = "give its box in the first frame: --box x,y,w,h"


def ask_box(image: Image) -> Image:
    """Let a person draw a box [4] (x, y, w, h in pixels) on an image uint8 [h, w, 3], RGB.

    Raises UsageError without a display, and when the window is closed without a box.
    """
    import tkinter

    try:
        window = tkinter.Tk()
    except tkinter.TclError:
        raise UsageError(
            f"nothing says where the target is, and there is no display to show it on; {BOX_INSTEAD}"
        ) from None
    window.title(HINT)
    drawing = _Drawing(window, image)
    window.mainloop()
    if drawing.box_xywh is None:
        raise UsageError(f"no box was drawn; {BOX_INSTEAD}")
    return drawing.box_xywh


class _Drawing:
    """The image on a canvas, and the box as it is drawn."""

    def __init__(self, window: Any, image: Image) -> None:
        import tkinter

        self.window = window
        self.box_xywh: Image | None = None
        height, width = image.shape[:2]
        self.scale = min(1.0, LARGEST[0] / width, LARGEST[1] / height)
        shown = cv2.resize(image, None, fx=self.scale, fy=self.scale, interpolation=cv2.INTER_AREA)
        self.picture = tkinter.PhotoImage(master=window, data=_encode(shown), format="PPM")
        self.canvas = tkinter.Canvas(window, width=shown.shape[1], height=shown.shape[0])
        self.canvas.create_image(0, 0, image=self.picture, anchor="nw")
        self.mark = self.canvas.create_rectangle(-9, -9, -9, -9, outline="#4dabf7", width=2)
        self.canvas.pack()
        self.canvas.bind("<ButtonPress-1>", self._begin)
        self.canvas.bind("<B1-Motion>", self._stretch)
        window.bind("<Return>", self._take)
        window.bind("<Escape>", lambda _: window.destroy())

    def _begin(self, event: Any) -> None:
        self.canvas.coords(self.mark, event.x, event.y, event.x, event.y)
        self.corner = event.x, event.y

    def _stretch(self, event: Any) -> None:
        self.canvas.coords(self.mark, *self.corner, event.x, event.y)

    def _take(self, _: Any) -> None:
        left, top, right, bottom = (v / self.scale for v in self.canvas.coords(self.mark))
        if right - left >= 1 and bottom - top >= 1:
            self.box_xywh = np.array([left, top, right - left, bottom - top])
            self.window.destroy()


def _encode(image: Image) -> bytes:
    """PPM, which Tk reads without a library."""
    height, width = image.shape[:2]
    return f"P6 {width} {height} 255 ".encode() + image.tobytes()
