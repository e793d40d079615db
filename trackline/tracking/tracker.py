"""Follow targets with a trained network: crop, predict, window, map back, remember.

One tracker serves several streams in lock-step; each stream has its own template, memory and clock.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence as Listing
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from trackline.boxes import clip_xywh, cxcywh_to_xywh
from trackline.config import Track
from trackline.data.clips import normalise
from trackline.data.crops import (
    Frame,
    Window,
    align,
    cut,
    place_compat,
    place_window,
    to_crop,
    to_image,
)
from trackline.data.frames import REDUCED, Shrunk
from trackline.errors import BoxError
from trackline.models.backbone import Features
from trackline.models.heads import decode, hann_window
from trackline.models.history import Memory
from trackline.models.network import Network, Prediction

Array = np.ndarray[Any, Any]
SPARE = 1.25  # how much larger than its crop a search region stays in a shrunk image


class Result(NamedTuple):
    """What the tracker says of one frame of one stream."""

    box_xywh: Array  # image pixels
    confidence: float  # in (0, 1]; NaN from a box head without any
    probabilities: Array  # of the classes; empty without a class head


@dataclass
class _Stream:
    box_xywh: Array
    template: Tensor  # [3, side, side], normalised
    stem: Tensor  # [s, g, g], of the template and its mask
    rows: Tensor | None  # [z], template tokens that rank candidates
    frame: int = 0


class Tracker:
    """Tracks up to `streams` targets at once; `start` each, then `step` those that have a frame."""

    def __init__(self, network: Network, track: Track, streams: int = 1) -> None:
        self.network = network.eval()
        self.track, self.model = track, network.config
        self.device = next(network.parameters()).device
        grid, history = network.backbone.grid_x, self.model.history
        width, like = self.model.backbone.width, torch.empty(0, device=self.device)
        self.memory = Memory(
            streams, history.capacity, grid**2, history.key_width, width // 2, like
        )
        self.window = torch.lerp(torch.ones(grid, grid), hann_window(grid), track.window).to(like)
        self._streams: dict[int, _Stream] = {}

    @torch.inference_mode()
    def start(
        self,
        stream: int,
        image: Array,
        box_xywh: Array,
        look: tuple[Array, Array] | None = None,
    ) -> None:
        """Begin to follow the target in `box_xywh` (pixels) of `image` (uint8 [h, w, 3], RGB).

        `look`, an image and a box, takes the place of the template, to see whether it matters.
        Raises BoxError when the box has no area inside the image.
        """
        box = check_box(box_xywh, image.shape[1], image.shape[0])
        seen, seen_box = (image, box) if look is None else look
        crop, compat = self.model.template, self.model.mimics("crop")
        window = place_window(seen_box, crop.factor)
        frame = place_compat(seen_box, window, crop.size) if compat else window
        template = self._to_device([cut(seen, window, crop.size, compat)])
        in_crop = torch.from_numpy(to_crop(seen_box, frame)).float()[None].to(self.device)
        stem = self.network.look_at_template(template, in_crop)
        rows = self.network.mark_rows(in_crop)
        rows = None if rows is None else rows[0]
        self._streams[stream] = _Stream(box, template[0], stem[0], rows)
        if not self.model.mimics("bank"):
            self.memory.reset(stream)

    def find_shrink(self, stream: int) -> int:
        """By how much images of a stream may be shrunk (1, 2, 4 or 8) and fill its search crop still."""
        if self.model.mimics("crop"):
            return 1
        search = self.model.search
        side = place_window(self._streams[stream].box_xywh, search.factor).side
        return max(by for by in REDUCED if by == 1 or side >= by * SPARE * search.size)

    @torch.inference_mode()
    def step(self, streams: Listing[int], images: Listing[Array | Shrunk]) -> list[Result]:
        """Follow each of the streams into its next image."""
        states = [self._streams[s] for s in streams]
        views = [i if isinstance(i, Shrunk) else Shrunk.of(i) for i in images]
        windows = [self._place_search(s, v) for s, v in zip(states, views, strict=True)]
        compat = self.model.mimics("crop")
        crops = [self._cut_search(v, w) for v, w in zip(views, windows, strict=True)]
        searches = self._to_device(crops)
        templates = torch.stack([s.template for s in states])
        for state in states:
            state.frame += 1
        marked = [s.rows for s in states if s.rows is not None]
        rows = torch.stack(marked) if marked else None
        features = self.network.backbone(templates, searches, rows)
        said = self._predict(list(streams), states, features)
        if self.track.scale_lr < 1:
            said = self._damp(said, states, windows)
        self._remember(list(streams), states, searches, features, said)
        probabilities = np.zeros((len(states), 0))
        if said.logits is not None:
            probabilities = _to_host(said.logits.softmax(1))
        places: Listing[Frame] = windows
        if compat:
            places = [place_compat(s.box_xywh, w) for s, w in zip(states, windows, strict=True)]
        answers = (_to_host(said.boxes_cxcywh), _to_host(said.scores_b), probabilities)
        parts = zip(states, places, views, *answers, strict=True)
        return [self._conclude(*part) for part in parts]

    def _place_search(self, state: _Stream, view: Shrunk) -> Window:
        window = place_window(state.box_xywh, self.model.search.factor)
        return window if view.by == 1 else align(window, view.by)

    def _cut_search(self, view: Shrunk, window: Window) -> Array:
        shrunk = Window(*(edge // view.by for edge in window))
        return cut(view.pixels, shrunk, self.model.search.size, self.model.mimics("crop"))

    def _predict(self, streams: list[int], states: list[_Stream], features: Features) -> Prediction:
        """Early frames read the template, later ones the memory; a batch may hold both."""
        until = self.model.history.template_until
        early = [i for i, s in enumerate(states) if s.frame <= until]
        late = [i for i, s in enumerate(states) if s.frame > until]
        parts, order = [], [*early, *late]
        if early:
            stems = torch.stack([states[i].stem for i in early])
            keys, values = self.network.write_template_stem(stems, features.template_bzc[early])
            some = features.take(early)
            parts.append(self.network.predict(some, keys, values, window_gg=self.window))
        if late:
            held = self.memory.entries([streams[i] for i in late])
            parts.append(self.network.predict(features.take(late), *held, self.window))
        return parts[0] if len(parts) == 1 else _interleave(parts, np.argsort(order).tolist())

    def _damp(self, said: Prediction, states: list[_Stream], windows: list[Window]) -> Prediction:
        """Let sizes go only `scale_lr` of the way to what the network says, in log scale.

        The next crop is as large as this box, so what is a little too large makes the next one larger still;
        SiamFC damps it with 0.35 (Bertinetto et al., ECCV Workshops 2016).
        """
        held = np.stack([s.box_xywh[2:] / w.side for s, w in zip(states, windows, strict=True)])
        held_b2 = torch.from_numpy(held).to(said.boxes_cxcywh)
        centre_b2, size_b2 = said.boxes_cxcywh.split(2, dim=1)
        growth_b2 = (size_b2 / held_b2).clamp(min=1e-3)
        damped_b2 = held_b2 * growth_b2**self.track.scale_lr
        return said._replace(boxes_cxcywh=torch.cat((centre_b2, damped_b2), dim=1))

    def _remember(
        self,
        streams: list[int],
        states: list[_Stream],
        searches: Tensor,
        features: Features,
        said: Prediction,
    ) -> None:
        due = [i for i, s in enumerate(states) if self.model.history.writes(s.frame)]
        if not due:
            return
        boxes = said.boxes_cxcywh
        if self.model.mimics("memory_box"):  # the one before the window
            boxes, _ = decode(said.found)
        entry = self.network.write_frame(searches[due], features.take(due), boxes[due])
        self.memory.write([streams[i] for i in due], *entry)

    def _conclude(
        self,
        state: _Stream,
        place: Frame,
        view: Shrunk,
        box_cxcywh: Array,
        score: float,
        probabilities: Array,
    ) -> Result:
        box = to_image(cxcywh_to_xywh(box_cxcywh.astype(np.float64)), place)
        state.box_xywh = clip_xywh(box, view.width, view.height, self.track.clip_margin_px)
        return Result(state.box_xywh, float(score), probabilities)

    def _to_device(self, crops: list[Array]) -> Tensor:
        images = torch.from_numpy(np.stack(crops)).to(self.device)
        return normalise(images.movedim(-1, 1).float() / 255)


def check_box(box_xywh: Array, width: int, height: int) -> Array:
    """Give a box back as float64 [4]; raises BoxError when it has no area inside the image."""
    box = np.asarray(box_xywh, dtype=np.float64)
    x, y, w, h = box
    if not np.isfinite(box).all() or w <= 0 or h <= 0:
        raise BoxError(
            f"box {x:g},{y:g},{w:g},{h:g} has no area; give left,top,width,height in pixels"
        )
    if x >= width or y >= height or x + w <= 0 or y + h <= 0:
        raise BoxError(
            f"box {x:g},{y:g},{w:g},{h:g} lies outside the image of {width}x{height} pixels; "
            "give left,top,width,height of the target in the first frame"
        )
    return box


def _interleave(parts: list[Prediction], order: list[int]) -> Prediction:
    """Predictions for parts of a batch as one for all of it, in the batch's order."""
    kind, each = type(parts[0].found), zip(*(p.found for p in parts), strict=True)
    found = kind(*(_join(tensors, order) for tensors in each))
    boxes, scores = (_join(t, order) for t in zip(*(p[1:3] for p in parts), strict=True))
    known = [p.logits for p in parts if p.logits is not None]
    return Prediction(found, boxes, scores, _join(known, order) if known else None)


def _join(parts: Iterable[Tensor], order: list[int]) -> Tensor:
    return torch.cat(list(parts))[order]


def _to_host(values: Tensor) -> Array:
    array: Array = values.float().cpu().numpy()
    return array
