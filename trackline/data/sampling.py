"""Training clips: which frames, which crops; every clip follows from (seed, epoch, index) alone.

Causal sampling, after HIPTrack (Cai et al., CVPR 2024): a template and search frames in order, or
all of it reversed.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as Listing
from typing import Any, NamedTuple

import numpy as np

from trackline.config import Jitter, Model, Train
from trackline.data.crops import cut, place_compat, place_window, to_crop
from trackline.data.frames import Frames
from trackline.data.table import Sequence
from trackline.errors import ConfigError

Array = np.ndarray[Any, Any]


class Clip(NamedTuple):
    """One training sample: uint8 crops and their boxes xywh in fractions of the crop."""

    template_hw3: Array
    template_box_xywh: Array
    searches_thw3: Array
    boxes_t4: Array
    label: int


class ClipSampler:
    """Draws clips of one template and several search frames from sequences."""

    def __init__(
        self,
        sequences: Listing[Sequence],
        frames: Frames,
        classes: Listing[str],
        model: Model,
        train: Train,
    ) -> None:
        self.usable = [(s, v) for s in sequences if len(v := find_usable(s)) > 0]
        self.pools = mix([s.dataset for s, _ in self.usable], train.mix)
        self.frames, self.model, self.train = frames, model, train
        self.labels = {name: i for i, name in enumerate(classes)}

    def __call__(self, epoch: int, index: int) -> Clip:
        """Draw clip number `index` of an epoch."""
        rng = np.random.default_rng((self.train.seed, epoch, index))
        sequence, usable = self.usable[self._draw_sequence(rng)]
        searches = self.train.search_frames if epoch >= self.train.history_start_epoch else 1
        chosen = draw_frames(rng, usable, searches + 1, self.train.max_gap)
        template, template_box = self._crop(sequence, chosen[0], None)
        crops = [self._crop(sequence, frame, rng) for frame in chosen[1:]]
        return Clip(
            template,
            template_box,
            np.stack([crop for crop, _ in crops]),
            np.stack([box for _, box in crops]),
            self.labels.get(sequence.label, -1),
        )

    def _draw_sequence(self, rng: np.random.Generator) -> int:
        if not self.pools:
            return int(rng.integers(len(self.usable)))
        shares = np.array([share for share, _ in self.pools])
        _, pool = self.pools[rng.choice(len(shares), p=shares / shares.sum())]
        return int(pool[rng.integers(len(pool))])

    def _crop(
        self, sequence: Sequence, frame: int, rng: np.random.Generator | None
    ) -> tuple[Array, Array]:
        """Cut the template region, or with `rng` a search region around a displaced box."""
        image, box = self.frames(sequence, frame), sequence.boxes_xywh[frame]
        crop = self.model.template if rng is None else self.model.search
        around = box if rng is None else displace(rng, box, self.train.jitter)
        window, compat = place_window(around, crop.factor), self.model.mimics("crop")
        place = place_compat(around, window, crop.size) if compat else window
        return cut(image, window, crop.size, compat), to_crop(box, place).astype(np.float32)


def mix(datasets: Listing[str], shares: Mapping[str, float]) -> list[tuple[float, Array]]:
    """The share of each data set and where its sequences are among `datasets`; empty for no shares.

    Raises ConfigError when the shares and the data name different data sets.
    """
    there = sorted(set(datasets))
    if shares and (unknown := sorted(shares.keys() - set(there))):
        raise ConfigError(
            f"train.mix names {unknown[0]!r}, which has no training sequence; "
            f"the data sets are {', '.join(there)}"
        )
    if shares and (left := sorted(set(there) - shares.keys())):
        raise ConfigError(
            f"train.mix does not name the data set {left[0]!r}; give it a share, 0 to leave it out"
        )
    names = np.array(datasets)
    return [(share, np.flatnonzero(names == name)) for name, share in shares.items() if share > 0]


def find_usable(sequence: Sequence) -> Array:
    """Frames where the target is visible and its box has an area."""
    boxes = sequence.boxes_xywh
    return np.flatnonzero(sequence.visible & (boxes[:, 2:] > 0).all(1) & np.isfinite(boxes).all(1))


def draw_frames(rng: np.random.Generator, usable: Array, count: int, max_gap: int) -> list[int]:
    """Draw `count` frames in order, neighbours at most `max_gap` usable frames apart, or reversed.

    A sequence with fewer usable frames than that repeats some.
    """
    if len(usable) < count:
        chosen = np.sort(rng.choice(len(usable), count))
    else:
        steps = [int(rng.integers(len(usable) - count + 1))]
        for left in range(count - 1, 0, -1):
            last = min(steps[-1] + max_gap, len(usable) - left)
            steps.append(int(rng.integers(steps[-1] + 1, last + 1)))
        chosen = np.array(steps)
    order = chosen if rng.random() < 0.5 else chosen[::-1]
    return [int(usable[i]) for i in order]


def displace(rng: np.random.Generator, box_xywh: Array, jitter: Jitter) -> Array:
    """Jitter a box: wh' = wh·exp(σ·N), centre' = centre + √(w'h')·κ·(U − ½), per axis."""
    size = box_xywh[2:] * np.exp(jitter.scale * rng.standard_normal(2))
    shift = np.sqrt(size.prod()) * jitter.centre * (rng.random(2) - 0.5)
    centre = box_xywh[:2] + box_xywh[2:] / 2 + shift
    return np.concatenate((centre - size / 2, size))
