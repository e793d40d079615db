"""What surrounds the target: backgrounds, look-alikes, foreground things, light and sensor."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from trackline.data.motion import MOTIONS, cross, escort, pose, wander, wave
from trackline.data.shapes import (
    CLASSES,
    KINDS,
    Colours,
    Part,
    Pixels,
    Points,
    Rng,
    limb,
    oval,
    polygon,
)
from trackline.data.sprites import ZOOM, Actor, draw_sprite, pick_look, pick_tones

ESCORTS = 0.6  # share of the look-alikes that stay with the target, as in a flock


@dataclass(frozen=True)
class Light:
    """Per frame: channel gains (T, 3), gamma (T,), defocus (T,) in pixels; noise in grey levels."""

    gain: Points
    gamma: Points
    defocus: Points
    noise: float


def pick_dull(rng: Rng) -> Colours:
    """A muted colour (3,) in 0..255."""
    hsv = [[[rng.uniform(0, 360), rng.uniform(0.05, 0.4), rng.uniform(0.2, 0.85)]]]
    rgb = cv2.cvtColor(np.array(hsv, dtype=np.float32), cv2.COLOR_HSV2RGB)
    return np.asarray(rgb[0, 0], dtype=np.float64) * 255.0


def draw_blob(rng: Rng, corners: int, rough: float) -> Points:
    """A closed random outline (corners, 2) around the origin, of radius about 1."""
    angles = np.sort(rng.uniform(0, 2 * np.pi, corners))
    radii = rng.uniform(1 - rough, 1 + rough, corners)
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)


def draw_grain(rng: Rng, width: int, height: int, cells: int) -> Pixels:
    """Smooth value noise (height, width, 1) of unit deviation with `cells` cells across."""
    coarse = rng.normal(size=(max(2, cells * height // width), cells)).astype(np.float32)
    fine = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(fine, dtype=np.float32)[..., None]


def draw_slope(rng: Rng, width: int, height: int, palette: Colours) -> Pixels:
    """A linear gradient (height, width, 3) between two colours of the palette."""
    turn = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[0:height, 0:width]
    along = (x / width - 0.5) * np.cos(turn) + (y / height - 0.5) * np.sin(turn) + 0.5
    mix = np.clip(along, 0, 1)[..., None]
    return np.asarray(palette[0] * (1 - mix) + palette[1] * mix, dtype=np.float32)


def strew(rng: Rng, canvas: Pixels, palette: Colours) -> None:
    """Paint one polygon, ellipse or group of stripes on the canvas."""
    height, width = canvas.shape[:2]
    centre, reach = rng.uniform(0, 1, 2) * (width, height), rng.uniform(0.05, 0.25) * width
    corners = int(rng.integers(3, 8))
    rough = rng.uniform(0.1, 0.5)
    outline = draw_blob(rng, corners if rng.uniform() < 0.6 else 24, rough)
    points = [outline * reach * rng.uniform(0.4, 1, 2) + centre]
    if rng.uniform() < 0.25:
        shift = rng.uniform(-0.5, 0.5, 2) * reach
        bar = np.array([[-1, -0.06], [1, -0.06], [1, 0.06], [-1, 0.06]]) * reach
        points = [bar + centre + shift * step for step in range(4)]
    colour = palette[rng.integers(len(palette))] + rng.normal(0, 14, 3)
    cv2.fillPoly(canvas, [np.rint(p).astype(np.int32) for p in points], [float(v) for v in colour])


def draw_background(rng: Rng, width: int, height: int) -> Pixels:
    """A cluttered scene (height, width, 3) in 0..255."""
    palette = np.stack([pick_dull(rng) for _ in range(5)])
    canvas = draw_slope(rng, width, height, palette)
    for _ in range(int(rng.integers(10, 24))):
        strew(rng, canvas, palette)
    for cells in (6, 24):
        canvas += draw_grain(rng, width, height, cells) * np.float32(rng.uniform(2, 10))
    canvas = np.asarray(cv2.GaussianBlur(canvas, (0, 0), rng.uniform(1.2, 3.5)), dtype=np.float32)
    return np.asarray(np.clip(canvas, 0, 255))


def build_occluder(rng: Rng) -> list[Part]:
    """A foreground thing: a lump, a fence or a bush."""
    kind = int(rng.integers(3))
    if kind == 0:
        return [Part(0, (draw_blob(rng, int(rng.integers(6, 14)), 0.25),))]
    if kind == 1:
        posts = [limb(0, x, -1, x, 1, 0.2, 0.2) for x in (-0.75, 0.0, 0.75)]
        return [*posts, polygon(1, (-1, -0.5), (1, -0.5), (1, -0.15), (-1, -0.15))]
    spots = rng.uniform(-0.7, 0.7, size=(9, 2))
    return [oval(i % 2, x, y, 0.45, 0.3, rng.uniform(0, 180)) for i, (x, y) in enumerate(spots)]


def make_actor(rng: Rng, kind: str, tones: Colours, path: Points, size: float) -> Actor:
    """An object of a class or an occluder, in given colours, on its path."""
    parts = build_occluder(rng) if kind == "occluder" else KINDS[kind](rng)
    sprite = draw_sprite(parts, pick_look(rng, tones), int(np.ceil(size * ZOOM * 1.4)), rng)
    return Actor(sprite, pose(rng, np.concatenate(sprite.contours), path, size))


def rival_tones(rng: Rng, tones: Colours, same_class: bool) -> Colours:
    """Colours of a look-alike: far from the target's for its own class, else alike."""
    if not same_class:
        return np.clip(tones + rng.normal(0, 18, tones.shape), 0, 255)
    while True:
        fresh = pick_tones(rng)
        if np.abs(fresh[:2] - tones[:2]).sum(axis=1).min() > 200.0:
            return fresh


def rival_path(rng: Rng, path: Points, size: float, view: Points, meets: bool) -> Points:
    """A path (T, 2) of its own, or one that crosses the target's or keeps beside it."""
    frames = len(path)
    if rng.uniform() < ESCORTS:
        return escort(rng, path, size * rng.uniform(0.9, 1.4))
    if meets and frames > 3:
        meet = int(rng.integers(3, frames))
        return cross(rng, path, meet, meet + 1, size * rng.uniform(0.2, 0.7), size * 0.6)
    room = np.stack([0.1 * view, 0.9 * view])
    spots = rng.uniform(room[0], room[1], size=(20, 2))
    start = spots[np.minimum(np.hypot(*(spots - path[0]).T), 1.4 * size).argmax()]
    motion, stride = str(rng.choice(MOTIONS)), size * rng.uniform(0.05, 0.25)
    return wander(rng, frames, motion, start, stride, size * 0.7, room)


def place_rivals(rng: Rng, kind: str, tones: Colours, path: Points, size: float,
                 view: Points) -> Iterator[Actor]:  # fmt: skip
    """One to three look-alikes: the first of the target's class, the others of any other."""
    others = [name for name in CLASSES if name != kind]
    for rank in range(int(rng.choice([1, 2, 2, 3]))):
        name = kind if rank == 0 else str(rng.choice(others))
        bulk = size * rng.uniform(0.75, 1.1)
        walk = rival_path(rng, path, bulk, view, meets=rng.uniform() < 0.7 - 0.2 * rank)
        yield make_actor(rng, name, rival_tones(rng, tones, rank == 0), walk, bulk)


def place_occluders(rng: Rng, path: Points, size: float) -> Iterator[Actor]:
    """Up to two things that pass before the target, now and then hiding it."""
    frames = len(path)
    for _ in range(int(rng.integers(3)) if frames > 3 else 0):
        begin, hides = int(rng.integers(3, frames)), rng.uniform() < 0.1
        end = min(frames, begin + int(rng.integers(1, 4)))
        bulk, aside = (2.2, 0.0) if hides else (rng.uniform(0.6, 1.0), rng.uniform(0.1, 0.5))
        walk = cross(rng, path, begin, end, aside * size, size * rng.uniform(0.4, 0.7))
        tones = np.stack([pick_dull(rng) for _ in range(4)])
        yield make_actor(rng, "occluder", tones, walk, bulk * size)


def pick_light(rng: Rng, frames: int) -> Light:
    """Slow changes of gain, tint, gamma and focus; in some sequences one sudden change."""
    tint = rng.normal(0, 0.05, 3)
    gain = np.exp(wave(rng, frames, 0.4)[:, None] + tint)
    if rng.uniform() < 0.35:
        gain[int(rng.integers(frames)) :] *= rng.uniform(0.6, 1.4)
    gamma = np.exp(rng.normal(0, 0.12) + wave(rng, frames, 0.2))
    defocus = np.maximum(0.0, rng.uniform(-0.4, 0.5) + wave(rng, frames, 0.5))
    return Light(gain, gamma, defocus, noise=rng.uniform(0, 2))


def expose(image: Pixels, light: Light, frame: int, rng: Rng) -> Pixels:
    """The picture (H, W, 3) in 0..255 as the sensor sees it: focus, gain, gamma, noise."""
    if light.defocus[frame] > 0.2:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), float(light.defocus[frame])))
    lit = np.clip(image * (light.gain[frame] / 255.0), 0, 1) ** light.gamma[frame]
    noisy = lit * 255.0 + rng.normal(0, light.noise, image.shape)
    return np.asarray(np.clip(np.rint(noisy), 0, 255), dtype=np.float32)
