"""Objects with a look: painted once as a sprite, then posed in every frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from trackline.data.motion import extent
from trackline.data.shapes import Colours, Part, Pixels, Points, Rng, fit

TEXTURES = ("plain", "gradient", "stripes", "dots", "checker", "noise")
CONTRAST = np.float32(0.45)  # of a pattern: the parts must stay clearer than it
OVERSAMPLE = 2
REACH = 0.48  # half-extent of the shape in its canvas: a thin clear rim stays around it
SMEAR = 8.0  # the longest motion blur, in canvas pixels
ZOOM = 2  # frames are composed at this many canvas pixels per image pixel


@dataclass(frozen=True)
class Look:
    """Colours (4, 3) in 0..255: three tones and the pattern on tone 0; dark or light edge."""

    tones: Colours
    texture: str
    edge: Colours


@dataclass(frozen=True)
class Sprite:
    """Premultiplied RGBA (S, S, 4), its contours in the unit box [-1, 1]^2 and its area there."""

    rgba: Pixels
    contours: tuple[Points, ...]
    area: float


@dataclass(frozen=True, eq=False)
class Actor:
    """A sprite and its poses (T, 2, 3), from the unit box to image pixels."""

    sprite: Sprite
    poses: Points


def pick_colour(rng: Rng, hue: float | None = None) -> Colours:
    """A random vivid colour (3,) in 0..255, of a given hue (0..1) if asked."""
    tint = rng.uniform() if hue is None else hue % 1.0
    hsv = np.array([[[tint * 360.0, rng.uniform(0.45, 1.0), rng.uniform(0.4, 1.0)]]])
    rgb = cv2.cvtColor(hsv.astype(np.float32), cv2.COLOR_HSV2RGB)
    return np.asarray(rgb[0, 0], dtype=np.float64) * 255.0


def pick_tones(rng: Rng, hue: float | None = None) -> Colours:
    """Four colours (4, 3) told apart by eye, the first of a given hue if asked."""
    tones = [pick_colour(rng, hue)]
    while len(tones) < 4:
        colour = pick_colour(rng)
        if min(float(np.abs(colour - other).sum()) for other in tones) > 150.0:
            tones.append(colour)
    return np.stack(tones)


def pick_look(rng: Rng, tones: Colours | None = None) -> Look:
    """A random look; its distribution is the same for every class."""
    colours = pick_tones(rng) if tones is None else tones
    edge = (np.full(3, rng.uniform(0, 40)), np.full(3, rng.uniform(215, 255)))
    texture = str(rng.choice(TEXTURES))
    return Look(colours, texture, edge[int(rng.integers(2))])


def weave(texture: str, side: int, rng: Rng) -> Pixels:
    """The pattern's weight (side, side, 1) in 0..1."""
    y, x = np.mgrid[0:side, 0:side] / side
    turn, cycles = rng.uniform(0, np.pi), rng.uniform(4, 6)
    along = (x * np.cos(turn) + y * np.sin(turn)) * cycles
    across = (y * np.cos(turn) - x * np.sin(turn)) * cycles
    grain = rng.uniform(size=(9, 9)).astype(np.float32)
    patterns: dict[str, Callable[[], NDArray[np.floating]]] = {
        "plain": lambda: np.zeros((side, side)),
        "gradient": lambda: np.clip(0.5 + (along - along.mean()) / cycles, 0, 1),
        "stripes": lambda: (along % 1.0 < 0.45) * 1.0,
        "dots": lambda: (np.hypot(along % 1.0 - 0.5, across % 1.0 - 0.5) < 0.33) * 1.0,
        "checker": lambda: ((along % 1.0 < 0.5) ^ (across % 1.0 < 0.5)) * 1.0,
        "noise": lambda: np.asarray(cv2.resize(grain, (side, side)), dtype=np.float64),
    }
    return patterns[texture]().astype(np.float32)[..., None]


def paint(parts: Sequence[Part], fills: Sequence[Pixels], edge: Colours) -> Pixels:
    """Premultiplied RGBA (S, S, 4) of parts in the unit box, each filled with its tone's picture."""
    side = len(fills[0])
    colour = np.zeros((side, side, 3), dtype=np.float32)
    alpha = np.zeros((side, side), dtype=np.uint8)
    for part in parts:
        places = [(c * REACH + 0.5) * side - 0.5 for c in part.contours]
        outline = [np.rint(place * 16).astype(np.int32) for place in places]
        mask = cv2.fillPoly(np.zeros_like(alpha), outline, 1, cv2.LINE_8, 4)
        np.copyto(colour, fills[part.tone], where=mask[..., None] > 0)
        np.maximum(alpha, mask, out=alpha)
        ink = [float(v) for v in edge]
        cv2.polylines(colour, outline, True, ink, max(1, side // 40), cv2.LINE_8, 4)
    cover = alpha.astype(np.float32)[..., None]
    return np.concatenate([colour * cover, cover], axis=2)


def draw_sprite(parts: Sequence[Part], look: Look, pixels: int, rng: Rng) -> Sprite:
    """Paint the parts, fitted to the unit box, on a canvas of `pixels` a side."""
    fitted, side = fit(parts), pixels * OVERSAMPLE
    fills = [np.full((side, side, 3), tone, dtype=np.float32) for tone in look.tones]
    fills[0] += (fills[3] - fills[0]) * weave(look.texture, side, rng) * CONTRAST
    large = paint(fitted, fills, look.edge)
    rgba = np.asarray(cv2.resize(large, (pixels, pixels), interpolation=cv2.INTER_AREA))
    contours = tuple(c for part in fitted for c in part.contours)
    return Sprite(rgba, contours, area=float(large[..., 3].mean()) / REACH**2)


def trace(actor: Actor, frame: int) -> list[Points]:
    """The actor's contours in image pixels."""
    matrix = actor.poses[frame]
    return [c @ matrix[:, :2].T + matrix[:, 2] for c in actor.sprite.contours]


def apart(one: Actor, other: Actor) -> bool:
    """Whether the boxes of two actors do not touch in the first frame."""
    a, b = (extent(np.concatenate(trace(actor, 0))) for actor in (one, other))
    return bool((a[:2] > b[2:]).any() or (b[:2] > a[2:]).any())


def visible_box(contours: list[Points], view: Points) -> Points:
    """The extent of a silhouette's outline inside the image; zeros when it is outside."""
    start = np.concatenate(contours)
    step = np.concatenate([np.roll(c, -1, axis=0) - c for c in contours])
    step = np.where(np.abs(step) < 1e-9, 1e-9, step)
    bounds = np.stack([-start / step, (view - start) / step])
    near = np.clip(bounds.min(axis=0).max(axis=1), 0, None)
    far = np.clip(bounds.max(axis=0).min(axis=1), None, 1)
    inside = near <= far
    if not inside.any():
        return np.zeros(4)
    ends = np.concatenate([start + step * near[:, None], start + step * far[:, None]])
    return np.clip(extent(ends[np.tile(inside, 2)]), 0, np.tile(view, 2))


def smear(rgba: Pixels, step: Points) -> Pixels:
    """Blur a layer (h, w, 4) along `step`, the pixels it moves while the shutter is open."""
    length = float(np.hypot(*step))
    if length < 1.5:
        return rgba
    side = int(np.ceil(length)) // 2 * 2 + 3
    kernel = np.zeros((side, side), dtype=np.float32)
    middle = np.full(2, side // 2, dtype=np.float64)
    ends = [np.rint((middle + sign * step / 2) * 16).astype(int).tolist() for sign in (-1, 1)]
    cv2.line(kernel, ends[0], ends[1], [1.0], 1, cv2.LINE_8, 4)
    return np.asarray(cv2.filter2D(rgba, -1, kernel / kernel.sum()), dtype=np.float32)


def window(actor: Actor, frame: int, pad: float, canvas: Pixels) -> tuple[slice, slice]:
    """The rows and columns of the canvas around the actor, `pad` canvas pixels wider."""
    box = extent(np.concatenate(trace(actor, frame))) * ZOOM
    limit = np.array(canvas.shape[1::-1])
    low = np.clip(np.floor(box[:2] - pad), 0, limit).astype(int)
    high = np.clip(np.ceil(box[2:] + pad), 0, limit).astype(int)
    return slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0]))


def warp(actor: Actor, frame: int, shutter: float, canvas: Pixels) -> tuple[Pixels, slice, slice]:
    """The actor's layer (h, w, 4) and the rows and columns of the canvas it covers."""
    matrix, side = actor.poses[frame], len(actor.sprite.rgba)
    moved = (matrix[:, 2] - actor.poses[max(frame - 1, 0)][:, 2]) * ZOOM * shutter
    step = moved * min(1.0, SMEAR / max(float(np.hypot(*moved)), SMEAR))
    rows, columns = window(actor, frame, float(np.abs(step).max()) + 2, canvas)
    w, h = columns.stop - columns.start, rows.stop - rows.start
    if w == 0 or h == 0:
        return np.zeros((h, w, 4), dtype=np.float32), rows, columns
    linear = matrix[:, :2] * ZOOM / (side * REACH)
    corner = (columns.start + 0.5, rows.start + 0.5)  # pixel centres lie at halves
    offset = linear @ np.full(2, 0.5 - side / 2) + matrix[:, 2] * ZOOM - corner
    layer = cv2.warpAffine(actor.sprite.rgba, np.column_stack([linear, offset]), (w, h))
    return smear(np.asarray(layer), step), rows, columns
