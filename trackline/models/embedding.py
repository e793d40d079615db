"""How targets look to a network: a crop of each in a few numbers, by which a model knows its data again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from trackline.data.clips import normalise
from trackline.data.crops import cut, place_window
from trackline.data.frames import Frames, Image
from trackline.data.profile import DIRECTIONS, find_targets, sample
from trackline.data.table import Sequence, iterate
from trackline.errors import DataError
from trackline.models.network import Network

CROPS = 400  # one of each of so many sequences at most: enough to tell, and soon seen without a GPU
BATCH = 32


@torch.inference_mode()
def embed(network: Network, table: pd.DataFrame, root: Path, split: str) -> np.ndarray[Any, Any]:
    """See a crop of each of a seeded sample of a split's sequences: float32 [crops, DIRECTIONS].

    That is the mean of the backbone's tokens of the template crop in the middle of the visible frames,
    in a few random directions. Crops that cannot be read are left out. Draws no random number.
    """
    network.eval()
    device = next(network.parameters()).device
    crops = _cut_crops(network, iterate(sample(table, split, CROPS, 0), split), Frames(root, 0))
    parts = [torch.zeros(0, network.config.backbone.width)]
    while batch := list(islice(crops, BATCH)):
        images = torch.from_numpy(np.stack(batch)).to(device).movedim(-1, 1).float() / 255
        parts.append(_see(network, normalise(images)).cpu())
    seen_cw: np.ndarray[Any, Any] = torch.cat(parts).numpy()
    directions: np.ndarray[Any, Any] = seen_cw @ draw_directions(seen_cw.shape[1])
    return directions


def draw_directions(width: int) -> np.ndarray[Any, Any]:
    """Random signs [width, DIRECTIONS], the same for ever: distances survive such a projection
    (Achlioptas, Database-friendly random projections, JCSS 2003)."""
    drawn = hashlib.shake_256(b"directions").digest(width * DIRECTIONS // 8)
    bits = np.unpackbits(np.frombuffer(drawn, np.uint8)).reshape(width, DIRECTIONS)
    signs: np.ndarray[Any, Any] = 2 * bits.astype(np.float32) - 1
    return signs / np.float32(np.sqrt(width))


def _cut_crops(network: Network, sequences: Iterable[Sequence], frames: Frames) -> Iterator[Image]:
    """Template crops [side, side, 3]; what cannot be read is passed over, validation tells."""
    size, factor = network.config.template.size, network.config.template.factor
    for sequence in sequences:
        targets = find_targets(sequence)
        if not len(targets):
            continue
        frame = int(targets[len(targets) // 2])
        with suppress(DataError, OSError):
            image = frames(sequence, frame)
            yield cut(image, place_window(sequence.boxes_xywh[frame], factor), size)


def _see(network: Network, crops_b3hw: Tensor) -> Tensor:
    """The mean token [b, c] of template crops alone: a fifth of the tokens that tracking has."""
    backbone = network.backbone
    tokens_bzc = backbone.patch_embed(crops_b3hw) + backbone.pos_embed_z
    if backbone.temporal:
        tokens_bzc = tokens_bzc + backbone.temporal_z
    for block in backbone.blocks:
        tokens_bzc = block(tokens_bzc)
    mean_bc: Tensor = backbone.norm(tokens_bzc).mean(dim=1)
    return mean_bc
