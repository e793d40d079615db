"""The ten kinds of object, each built from parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Points: TypeAlias = NDArray[np.float64]
Colours: TypeAlias = NDArray[np.float64]
Pixels: TypeAlias = NDArray[np.float32]
Rng: TypeAlias = np.random.Generator


@dataclass(frozen=True)
class Part:
    """Closed contours, each (N, 2), filled by the even-odd rule in one tone (0, 1 or 2)."""

    tone: int
    contours: tuple[Points, ...]


def polygon(tone: int, *points: tuple[float, float]) -> Part:
    """One straight-edged part."""
    return Part(tone, (np.array(points, dtype=np.float64),))


def arc(x: float, y: float, rx: float, ry: float, tilt: float, start: float, stop: float) -> Points:
    """Points (25, 2) on an ellipse tilted by `tilt` degrees, between two angles in degrees."""
    angles = np.radians(np.linspace(start, stop, 25))
    turn = np.radians(tilt)
    along, across = rx * np.cos(angles), ry * np.sin(angles)
    return np.stack(
        [
            x + along * np.cos(turn) - across * np.sin(turn),
            y + along * np.sin(turn) + across * np.cos(turn),
        ],
        axis=1,
    )


def oval(tone: int, x: float, y: float, rx: float, ry: float, tilt: float = 0.0) -> Part:
    """A filled ellipse."""
    return Part(tone, (arc(x, y, rx, ry, tilt, 0.0, 360.0),))


def ring(tone: int, x: float, y: float, rx: float, ry: float, hole: float) -> Part:
    """An ellipse with a hole of `hole` times its size."""
    outer = arc(x, y, rx, ry, 0.0, 0.0, 360.0)
    return Part(tone, (outer, arc(x, y, rx * hole, ry * hole, 0.0, 0.0, 360.0)))


def limb(tone: int, x0: float, y0: float, x1: float, y1: float, w0: float, w1: float) -> Part:
    """A bar from one point to another with half-widths `w0` and `w1`."""
    along = np.array([x1 - x0, y1 - y0])
    side = np.array([-along[1], along[0]]) / np.hypot(*along)
    start, stop = np.array([x0, y0]), np.array([x1, y1])
    corners = [start + side * w0, stop + side * w1, stop - side * w1, start - side * w0]
    return Part(tone, (np.stack(corners),))


def mirrored(*parts: Part) -> list[Part]:
    """The parts and their left-right mirror images."""
    flip = np.array([-1.0, 1.0])
    twins = [Part(part.tone, tuple(c * flip for c in part.contours)) for part in parts]
    return [*parts, *twins]


def car(rng: Rng) -> list[Part]:
    """Body, cabin, two windows, two wheels, a head lamp."""
    top, back, front = rng.uniform(-0.85, -0.65), rng.uniform(-0.6, -0.4), rng.uniform(0.25, 0.45)
    wheel, base = rng.uniform(0.26, 0.33), 0.42
    pane = top + 0.12
    return [
        polygon(0, (back - 0.25, -0.1), (back, top), (front, top), (front + 0.33, -0.1)),
        polygon(0, (-1, 0), (-0.93, -0.15), (0.85, -0.15), (1, 0.05), (1, base), (-1, base)),
        polygon(1, (back - 0.1, -0.14), (back + 0.07, pane), (-0.1, pane), (-0.1, -0.14)),
        polygon(1, (0.02, -0.14), (0.02, pane), (front - 0.05, pane), (front + 0.16, -0.14)),
        oval(2, -0.55, base, wheel, wheel),
        oval(2, 0.57, base, wheel, wheel),
        oval(1, -0.55, base, wheel * 0.42, wheel * 0.42),
        oval(1, 0.57, base, wheel * 0.42, wheel * 0.42),
        oval(2, 0.9, 0.08, 0.1, 0.09),
    ]


def fish(rng: Rng) -> list[Part]:
    """Oval body, forked tail, back and belly fins, gill line, eye."""
    high, tail, fork = rng.uniform(0.42, 0.55), rng.uniform(0.5, 0.68), rng.uniform(-0.85, -0.72)
    fin = rng.uniform(0.72, 0.9)
    return [
        polygon(1, (-0.35, 0), (-1, -tail), (fork, 0), (-1, tail)),
        polygon(1, (0.35, -high * 0.8), (-0.2, -fin), (-0.35, -high * 0.6)),
        polygon(1, (0.25, high * 0.8), (-0.1, fin), (-0.2, high * 0.7)),
        oval(0, 0.25, 0, 0.75, high),
        Part(
            2,
            (
                np.concatenate(
                    [
                        arc(0.42, 0, 0.14, high * 0.8, 0, 90, 270),
                        arc(0.42, 0, 0.03, high * 0.8, 0, 270, 90),
                    ]
                ),
            ),
        ),
        oval(2, 0.7, -0.12, 0.11, 0.11),
    ]


def butterfly(rng: Rng) -> list[Part]:
    """Two large and two small wings with spots, a thin body, feelers."""
    upper, lower = rng.uniform(0.5, 0.6), rng.uniform(0.36, 0.45)
    spot, tilt = rng.uniform(0.13, 0.19), rng.uniform(-50, -35)
    wings = mirrored(
        oval(1, 0.4, 0.5, lower, 0.28, 45),
        oval(0, 0.52, -0.3, upper, 0.36, tilt),
        oval(2, 0.6, -0.38, spot, spot),
        oval(2, 0.45, 0.52, spot * 0.7, spot * 0.7),
        limb(2, 0.03, -0.5, 0.22, -0.98, 0.035, 0.05),
    )
    return [*wings, oval(2, 0, 0.05, 0.12, 0.68)]


def plane(rng: Rng) -> list[Part]:
    """Seen from above: fuselage, swept wings with engines, tailplane, cockpit."""
    sweep, chord, tail = rng.uniform(0.2, 0.45), rng.uniform(0.3, 0.4), rng.uniform(0.36, 0.5)
    body, root = rng.uniform(0.15, 0.2), -0.3
    tip = root + sweep + 0.15
    wings = mirrored(
        polygon(1, (0, root), (1, tip), (1, tip + chord * 0.5), (0, root + chord + 0.2)),
        polygon(1, (0, 0.58), (tail, 0.82), (tail, 1), (0, 0.88)),
        oval(2, 0.5, root + sweep * 0.5 + 0.08, 0.09, 0.2),
    )
    return [*wings, oval(0, 0, 0, body, 1), oval(2, 0, -0.68, body * 0.62, 0.14)]


def boat(rng: Rng) -> list[Part]:
    """Hull with portholes, mast, main sail, jib."""
    deck, keel = rng.uniform(0.32, 0.42), rng.uniform(0.55, 0.72)
    boom, jib = deck - 0.12, rng.uniform(0.65, 0.85)
    holes = [oval(2, x, deck + 0.26, 0.1, 0.1) for x in (-0.45, 0.0, 0.45)]
    return [
        limb(2, 0, deck, 0, -1, 0.06, 0.06),
        polygon(1, (0.09, -0.92), (0.09, boom), (rng.uniform(0.75, 0.9), boom)),
        polygon(1, (-0.09, -0.7), (-0.09, boom), (-jib, boom)),
        polygon(0, (-1, deck), (1, deck), (keel, 0.95), (-keel, 0.95)),
        *holes,
    ]


def mug(rng: Rng) -> list[Part]:
    """Tapered cup with a rim, a band and an open handle."""
    foot, grip, band = rng.uniform(0.4, 0.55), rng.uniform(0.42, 0.55), rng.uniform(0.05, 0.3)
    side = 0.62 - (0.62 - foot) * 0.5
    return [
        ring(2, 0.5, 0.1, 0.5, grip, 0.56),
        polygon(0, (-0.62, -0.75), (0.62, -0.75), (foot, 0.92), (-foot, 0.92)),
        polygon(
            1, (-side, band), (side, band), (side - 0.03, band + 0.25), (0.03 - side, band + 0.25)
        ),
        oval(1, 0, -0.75, 0.62, 0.2),
        oval(2, 0, -0.74, 0.47, 0.12),
    ]


def spikes(inner: float, scale: float) -> Points:
    """The outline (10, 2) of a five-pointed star, point up."""
    angles = np.radians(np.arange(10) * 36 - 90)
    radii = scale * np.where(np.arange(10) % 2 == 0, 1.0, inner)
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)


def star(rng: Rng) -> list[Part]:
    """Five points around a smaller star and a hub."""
    inner, core = rng.uniform(0.38, 0.5), rng.uniform(0.5, 0.62)
    return [
        Part(0, (spikes(inner, 1.0),)),
        Part(1, (spikes(inner, core),)),
        oval(2, 0, 0, 0.15, 0.15),
    ]


def person(rng: Rng) -> list[Part]:
    """Head, torso, raised or lowered arms, spread legs."""
    stance, head = rng.uniform(0.35, 0.55), rng.uniform(0.22, 0.27)
    left, right = rng.uniform(-0.75, 0.25, size=2)
    return [
        limb(2, -0.2, -0.35, -0.8, left, 0.12, 0.09),
        limb(2, 0.2, -0.35, 0.8, right, 0.12, 0.09),
        limb(1, -0.14, 0.2, -stance, 1, 0.16, 0.11),
        limb(1, 0.14, 0.2, stance, 1, 0.16, 0.11),
        polygon(0, (-0.34, -0.48), (0.34, -0.48), (0.28, 0.32), (-0.28, 0.32)),
        oval(2, 0, -0.72, head, head),
    ]


def key(rng: Rng) -> list[Part]:
    """Pierced bow, collar, shaft, two or three teeth; lies aslant to fill a square."""
    bow, teeth = rng.uniform(0.42, 0.5), int(rng.integers(2, 4))
    long = rng.uniform(0.4, 0.5)
    bits = [limb(1, x, 0.05, x, long, 0.085, 0.085) for x in (0.91, 0.63, 0.35)[:teeth]]
    parts = [
        *bits,
        limb(1, -0.3, 0, 1, 0, 0.14, 0.14),
        ring(0, -0.55, 0, 0.45, bow, 0.42),
        limb(2, -0.1, 0, 0.06, 0, 0.23, 0.23),
    ]
    turn = np.array([[1.0, -1.0], [1.0, 1.0]]) * np.sqrt(0.5)
    return [Part(part.tone, tuple(c @ turn for c in part.contours)) for part in parts]


def umbrella(rng: Rng) -> list[Part]:
    """Scalloped canopy with a middle panel, shaft, hooked handle, tip."""
    rim, grip = rng.uniform(-0.12, 0.05), rng.uniform(0.18, 0.26)
    dome = arc(0, rim, 1, 0.85 + rim, 0, 180, 360)
    waves = [arc(x, rim, 1 / 3, 0.16, 0, 0, -180) for x in (2 / 3, 0.0, -2 / 3)]
    hook = np.concatenate(
        [
            arc(grip, 0.75, grip + 0.07, 0.25, 0, 0, 180),
            arc(grip, 0.75, grip - 0.07, 0.12, 0, 180, 0),
        ]
    )
    panel = np.concatenate([arc(0, rim, 1 / 3, 0.83 + rim, 0, 180, 360), waves[1]])
    return [
        limb(2, 0, -1, 0, 0.78, 0.07, 0.07),
        Part(2, (hook,)),
        Part(0, (np.concatenate([dome, *waves]),)),
        Part(1, (panel,)),
    ]


KINDS: dict[str, Callable[[Rng], list[Part]]] = {
    build.__name__: build
    for build in (boat, butterfly, car, fish, key, mug, person, plane, star, umbrella)
}
CLASSES = tuple(KINDS)


def fit(parts: Sequence[Part]) -> list[Part]:
    """The parts stretched to fill the unit box [-1, 1]^2."""
    points = np.concatenate([c for part in parts for c in part.contours])
    low, high = points.min(axis=0), points.max(axis=0)
    return [
        Part(part.tone, tuple((c - low) / (high - low) * 2.0 - 1.0 for c in part.contours))
        for part in parts
    ]
