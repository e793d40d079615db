"""How things move: paths of positions and the poses along them."""

from __future__ import annotations

import numpy as np

from trackline.data.shapes import Points, Rng

MOTIONS = ("drift", "curve", "dart")


def wave(rng: Rng, frames: int, depth: float) -> Points:
    """A slow oscillation (frames,) around 0, of a random depth up to `depth`."""
    phase, rate = rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 0.5)
    return np.asarray(rng.uniform(0, depth) * np.sin(phase + rate * np.arange(frames)))


def turn(angles: Points | float) -> Points:
    """Unit vectors (..., 2) at angles in radians."""
    return np.stack([np.cos(angles), np.sin(angles)], axis=-1)


def wander(rng: Rng, frames: int, motion: str, start: Points, stride: float, leap: float,
           room: Points) -> Points:  # fmt: skip
    """A path (frames, 2) inside `room` (2, 2), low and high corner; all lengths in pixels."""
    heading, bend = rng.uniform(0, 2 * np.pi), rng.choice([-1, 1]) * rng.uniform(0.2, 0.5)
    path = [start]
    for _ in range(frames - 1):
        step = stride * rng.uniform(0.6, 1.4)
        if motion == "curve":
            heading += bend
        if rng.uniform() < (0.35 if motion == "dart" else 0.16):
            heading, step = rng.uniform(0, 2 * np.pi), leap * rng.uniform(0.5, 1)
        way = turn(heading)
        ahead = path[-1] + step * way
        way = np.where((ahead < room[0]) | (ahead > room[1]), -way, way)
        heading = float(np.arctan2(way[1], way[0]))
        path.append(np.clip(path[-1] + step * way, room[0], room[1]))
    return np.stack(path)


def cross(rng: Rng, path: Points, begin: int, end: int, aside: float, stride: float) -> Points:
    """A path (T, 2) that meets another, `aside` pixels off, during frames begin..end - 1."""
    frames = np.arange(len(path))
    meet = np.clip(frames, begin, end - 1)
    way, offset = turn(rng.uniform(0, 2 * np.pi, size=2))
    return np.asarray(path[meet] + aside * offset + (frames - meet)[:, None] * stride * way)


def escort(rng: Rng, path: Points, distance: float) -> Points:
    """A path (T, 2) that keeps `distance` pixels beside another, a frame late: after a leap of the
    leader the escort is where the leader was."""
    late = path[np.maximum(np.arange(len(path)) - 1, 0)]
    angles = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.3, len(path)))
    return np.asarray(late + distance * turn(angles))


def leave(path: Points, begin: int, end: int, size: float, view: Points) -> Points:
    """The path with frames begin..end - 1 moved past the nearest side of the view."""
    gaps = np.stack([path[begin], view - path[begin]])
    side, axis = np.unravel_index(int(gaps.argmin()), gaps.shape)
    moved = path.copy()
    moved[begin:end, axis] = (-size, view[axis] + size)[side]
    return moved


def extent(points: Points) -> Points:
    """The smallest box (x0, y0, x1, y1) around points (N, 2)."""
    return np.concatenate([points.min(axis=0), points.max(axis=0)])


def pose(rng: Rng, outline: Points, path: Points, size: float) -> Points:
    """Poses (T, 2, 3) of an outline (N, 2) on a path; its first box has the area `size` squared."""
    frames, side = len(path), rng.choice([-1.0, 1.0])
    stretch = np.exp(rng.uniform(-0.15, 0.15) + wave(rng, frames, 0.2))[:, None]
    angles = rng.uniform(-0.3, 0.3) + wave(rng, frames, 0.5)
    axes = [turn(angles) * side * stretch, turn(angles + np.pi / 2) / stretch]
    spins = np.stack(axes, axis=2)
    box = extent(outline @ spins[0].T)
    swell = wave(rng, frames, 0.25)
    scale = size / np.sqrt(np.prod(box[2:] - box[:2])) * np.exp(swell - swell[0])
    return np.concatenate([spins * scale[:, None, None], path[:, :, None]], axis=2)
