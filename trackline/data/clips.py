"""Batches of clips: drawn and cut by threads ahead of the training step, augmented on its device."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from trackline.config import Augment
from trackline.data.sampling import ClipSampler

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, of RGB in [0, 1]


@dataclass(frozen=True)
class Batch:
    """Clips as tensors; images uint8 [b, t, side, side, 3] until `prepare` makes them float."""

    templates: Tensor
    template_boxes_xywh: Tensor
    searches: Tensor
    boxes_xywh: Tensor
    labels: Tensor

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        parts = (getattr(self, f.name).to(device, non_blocking=True) for f in fields(self))
        return Batch(*parts)

    def split(self, parts: int) -> list[Batch]:
        """The same in equal parts."""
        columns = (getattr(self, f.name).chunk(parts) for f in fields(self))
        return [Batch(*row) for row in zip(*columns, strict=True)]


@dataclass(frozen=True)
class Share:
    """The part of each batch that this process works on, where several train together.

    `gather` brings the parts of all processes together, in their order.
    """

    rank: int = 0
    size: int = 1
    gather: Callable[[Tensor], Tensor] = lambda part: part

    def rows(self, batch: int) -> range:
        """This process's samples of a batch of `batch` samples."""
        part = batch // self.size
        return range(self.rank * part, (self.rank + 1) * part)


ALONE = Share()


class ClipLoader:
    """Iterates over the batches of an epoch; position and content depend on the seed alone."""

    def __init__(
        self, sampler: ClipSampler, batch: int, threads: int, share: Share = ALONE, ahead: int = 2
    ) -> None:
        self.sampler, self.batch, self.threads, self.ahead = sampler, batch, threads, ahead
        self.rows = share.rows(batch)

    def __call__(self, epoch: int, samples: int, first: int = 0) -> Iterator[Batch]:
        """Yield this process's share of the whole batches among `samples` clips of an epoch.

        The first to come is batch number `first`.
        """
        starts = range(first * self.batch, samples - self.batch + 1, self.batch)
        with ThreadPoolExecutor(self.threads) as pool:
            waiting: deque[Future[Batch]] = deque()
            for start in starts:
                waiting.append(pool.submit(self._load, epoch, start))
                if len(waiting) > self.ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def _load(self, epoch: int, start: int) -> Batch:
        clips = [self.sampler(epoch, start + i) for i in self.rows]
        template, box, searches, boxes, labels = zip(*clips, strict=True)
        a, b, c, d = (torch.from_numpy(np.stack(x)) for x in (template, box, searches, boxes))
        return Batch(a, b, c, d, torch.tensor(labels))


def prepare(
    batch: Batch,
    augment: Augment | None,
    generator: torch.Generator,
    double_flips: bool = False,
    share: Share = ALONE,
) -> Batch:
    """Turn uint8 images into normalised floats [b, (t,) 3, side, side], augmented on the way.

    `double_flips` mirrors each image once more on its own, as the reference does.
    """
    templates = batch.templates.movedim(-1, -3).float() / 255
    searches = batch.searches.movedim(-1, -3).float() / 255
    if augment is not None:
        draw = _Draw(generator, len(templates), templates.device, share)
        templates, searches = _recolour(templates, searches, augment.recolour, draw)
        templates, searches, batch = _paste_rivals(
            templates, searches, batch, augment.distractors, draw
        )
        templates, searches = _vary_light(templates, searches, augment, draw)
        flipped = draw.chance(augment.flip)[:, None].expand(-1, 1 + searches.shape[1])
        if double_flips:
            flipped = flipped ^ (draw.uniform(flipped.shape[1]) < augment.flip)
        templates = _mirror(templates, flipped[:, 0])
        searches = _mirror(searches, flipped[:, 1:])
        batch = replace(batch, boxes_xywh=_mirror_boxes(batch.boxes_xywh, flipped[:, 1:]))
    return replace(batch, templates=normalise(templates), searches=normalise(searches))


def normalise(images_3hw: Tensor) -> Tensor:
    """Subtract ImageNet's mean and divide by its deviation; images [..., 3, h, w] in [0, 1]."""
    mean, std = (torch.tensor(v, device=images_3hw.device)[:, None, None] for v in (MEAN, STD))
    return (images_3hw - mean) / std


class _Draw:
    """Random numbers for each sample of a batch, drawn on the host, used on the device.

    They are drawn for the whole batch: each process of several uses those of its share.
    """

    def __init__(
        self, generator: torch.Generator, part: int, device: torch.device, share: Share
    ) -> None:
        self.generator, self.device, self.gather = generator, device, share.gather
        self.batch = part * share.size
        rows = share.rows(self.batch)
        self.rows = slice(rows.start, rows.stop)

    def uniform(self, *shape: int) -> Tensor:
        drawn = torch.rand(self.batch, *shape, generator=self.generator)
        return drawn[self.rows].to(self.device)

    def chance(self, probability: float) -> Tensor:
        return self.uniform() < probability

    def partner(self) -> Tensor:
        """For each sample of the share another one of the whole batch."""
        shift = torch.randint(1, max(2, self.batch), (1,), generator=self.generator)
        return ((torch.arange(self.batch) + shift) % self.batch)[self.rows].to(self.device)


def _recolour(
    templates: Tensor, searches: Tensor, probability: float, draw: _Draw
) -> tuple[Tensor, Tensor]:
    """Swap the channels of some clips at random and invert half of these: new objects, same shapes."""
    chosen = draw.chance(probability)[:, None]
    order = torch.where(chosen, draw.uniform(3).argsort(1), torch.arange(3, device=chosen.device))
    inverted = (chosen & draw.chance(0.5)[:, None])[:, :, None, None]
    templates = templates.gather(1, order[:, :, None, None].expand_as(templates))
    searches = searches.gather(2, order[:, None, :, None, None].expand_as(searches))
    templates = torch.where(inverted, 1 - templates, templates)
    return templates, torch.where(inverted[:, None], 1 - searches, searches)


def _vary_light(
    templates: Tensor, searches: Tensor, augment: Augment, draw: _Draw
) -> tuple[Tensor, Tensor]:
    """Grey and colour cast alike for a clip; brightness for each image of its own."""
    cast = 1 + augment.colour * (2 * draw.uniform(1, 3, 1, 1) - 1)
    grey = draw.chance(augment.grey)[:, None, None, None, None]
    varied = []
    for images in (templates[:, None], searches):
        gain = 1 + augment.brightness * (2 * draw.uniform(images.shape[1], 1, 1, 1) - 1)
        coloured = torch.where(grey, images.mean(2, keepdim=True), images * cast)
        varied.append((coloured * gain).clamp(0, 1))
    return varied[0][:, 0], varied[1]


def _mirror(images: Tensor, flipped: Tensor) -> Tensor:
    return torch.where(flipped[..., None, None, None], images.flip(-1), images)


def _mirror_boxes(boxes_xywh: Tensor, flipped: Tensor) -> Tensor:
    x, y, w, h = boxes_xywh.unbind(-1)
    return torch.stack((torch.where(flipped, 1 - x - w, x), y, w, h), dim=-1)


def _paste_rivals(
    templates: Tensor, searches: Tensor, batch: Batch, probability: float, draw: _Draw
) -> tuple[Tensor, Tensor, Batch]:
    """Paste another clip's target into the search regions of some clips, and follow it in half of them.

    A pasted target looks pasted: were it never the one to follow, looks alone would tell them apart;
    so only the template does. It is cut from the other clip's search regions, a rounded square.
    """
    if probability == 0 or draw.batch < 2:
        return templates, searches, batch
    partner = draw.partner()

    def swap(chosen: Tensor, mine: Tensor) -> Tensor:
        return _either(chosen, draw.gather(mine)[partner], mine)

    pasted = draw.chance(probability)
    meant = pasted & draw.chance(0.5)
    other_xywh = draw.gather(batch.boxes_xywh)[partner]
    wanted_xywh = _place_rivals(batch.boxes_xywh, other_xywh, draw)
    patches, alpha = _cut_patches(draw.gather(searches)[partner], other_xywh, wanted_xywh)
    hidden = _cover(batch.boxes_xywh, searches.shape[-1]) & ~meant[:, None, None, None]
    alpha = alpha * ~hidden * pasted[:, None, None, None]
    followed = replace(
        batch,
        template_boxes_xywh=swap(meant, batch.template_boxes_xywh),
        boxes_xywh=_either(meant, wanted_xywh, batch.boxes_xywh),
        labels=swap(meant, batch.labels),
    )
    pasted_searches = torch.lerp(searches, patches, alpha[:, :, None])
    return swap(meant, templates), pasted_searches, followed


def _place_rivals(true_xywh: Tensor, other_xywh: Tensor, draw: _Draw) -> Tensor:
    """Boxes [b, t, 4] of about the true target's size and the other's shape, anywhere in the crop."""
    size = true_xywh[..., 2:].prod(-1).sqrt() * (0.7 + 0.6 * draw.uniform(true_xywh.shape[1]))
    shape = other_xywh[..., 2:] / other_xywh[..., 2:].prod(-1, keepdim=True).sqrt()
    wh = size[..., None] * shape
    return torch.cat((0.1 + 0.8 * draw.uniform(true_xywh.shape[1], 2) - wh / 2, wh), dim=-1)


def _cut_patches(images: Tensor, from_xywh: Tensor, to_xywh: Tensor) -> tuple[Tensor, Tensor]:
    """What is in one box of each image [b, t, 3, side, side], moved to another.

    Returns the moved images and how much of each pixel they cover [b, t, side, side].
    """
    steps = _steps(images.shape[-1], images)
    places, powers = [], []
    for axis in (0, 1):  # each by itself, long before there are pixels
        (low, size), (new, new_size) = (
            (box[..., axis, None], box[..., 2 + axis, None]) for box in (from_xywh, to_xywh)
        )
        unit = (steps - new) / new_size
        places.append(2 * (low + unit * size) - 1)
        powers.append((2 * unit - 1).square().square())
    grid = torch.stack(torch.broadcast_tensors(*_cross(*places)), dim=-1)
    patches = F.grid_sample(images.flatten(0, 1), grid.flatten(0, 1), align_corners=False)
    across, down = _cross(*powers)
    return patches.view_as(images), (4 * (1 - (across + down))).clamp(0, 1)


def _cover(boxes_xywh: Tensor, side: int) -> Tensor:
    """Pixels [b, t, side, side] inside boxes [b, t, 4]."""
    steps, (low, size) = _steps(side, boxes_xywh), boxes_xywh[..., None].split(2, dim=-2)
    inside = (steps > low) & (steps < low + size)
    across, down = _cross(*inside.unbind(-2))
    return across & down


def _steps(side: int, like: Tensor) -> Tensor:
    """The centres [side] of the pixels of a crop along an axis, as fractions of it."""
    return (torch.arange(side, device=like.device) + 0.5) / side


def _cross(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """What varies along rows and columns [..., side], ready to be combined for all pixels."""
    return x[..., None, :], y[..., :, None]


def _either(chosen_b: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    return torch.where(chosen_b.view(-1, *[1] * (no.dim() - 1)), yes, no)
