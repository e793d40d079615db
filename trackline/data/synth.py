"""A synthetic world of moving objects, written in GOT-10k's layout as tar shards."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zlib import crc32

import cv2
import numpy as np
from tqdm import tqdm

from trackline.data.motion import MOTIONS, extent, leave, wander, wave
from trackline.data.scenery import (
    Light,
    draw_background,
    expose,
    make_actor,
    pick_light,
    place_occluders,
    place_rivals,
)
from trackline.data.shapes import CLASSES, Pixels, Points, Rng
from trackline.data.sprites import ZOOM, Actor, apart, pick_tones, trace, visible_box, warp

DEFAULT: Mapping[str, tuple[int, int]] = {"train": (400, 5), "val": (20, 10), "test": (120, 16)}
MARGIN = 24  # image pixels of background around the first view, for the camera to pan over
SHARD_FRAMES = 240
QUALITY = 62
LEAST_VISIBLE = 0.05  # with less than this share in view the target counts as absent


@dataclass(frozen=True)
class Scene:
    """All that a sequence shows, back to front; `pan` (T, 2) is the view's shift in pixels."""

    kind: str
    motion: str
    background: Pixels
    pan: Points
    actors: list[Actor]
    target: int
    light: Light
    shutter: float


@dataclass(frozen=True)
class Shot:
    """One frame: JPEG, box (x0, y0, x1, y1), visible share 0..1, cut by the image's border."""

    jpeg: bytes
    box: Points
    visible: float
    cut: bool


def lead(rng: Rng, frames: int, motion: str, size: float, view: Points) -> Points:
    """The target's path (frames, 2); in a few sequences it leaves the view and comes back."""
    room = np.stack([np.full(2, 0.4 * size), view - 0.4 * size])
    start = rng.uniform(0.7 * size, view - 0.7 * size)
    stride = size * rng.uniform(0.02, 0.16)
    path = wander(rng, frames, motion, start, stride, size * 0.9, room)
    if frames < 5 or rng.uniform() > 0.08:
        return path
    begin = int(rng.integers(3, frames - 1))
    return leave(path, begin, begin + int(rng.integers(1, 4)), size, view)


def gather(rng: Rng, kind: str, path: Points, size: float, view: Points) -> tuple[list[Actor], int]:
    """The actors back to front, and the target's place among them; it is free at first."""
    tones = pick_tones(rng)
    target = make_actor(rng, kind, tones, path, size)
    rivals = list(place_rivals(rng, kind, tones, path, size, view))
    rng.shuffle(rivals)
    nearer = [*rivals[: int(rng.integers(2))], *place_occluders(rng, path, size)]
    before = [actor for actor in nearer if apart(actor, target)]
    behind = [actor for actor in rivals if actor not in before]
    return [*behind, target, *before], len(behind)


def survey(rng: Rng, frames: int, view: Points) -> tuple[Pixels, Points]:
    """The background in canvas pixels, and the camera's shift (frames, 2) in image pixels."""
    wide, high = (int(side + 2 * MARGIN) * ZOOM for side in view)
    sway = np.stack([wave(rng, frames, 6.0), wave(rng, frames, 6.0)], axis=1)
    pan = rng.uniform(-1.5, 1.5, 2) * np.arange(frames)[:, None] + sway
    return draw_background(rng, wide, high), np.clip(pan, -MARGIN, MARGIN)


def seed_stream(seed: int, split: str, index: int, stream: int) -> Rng:
    """Chance for one aspect of one sequence: no two splits or sequences share any."""
    key = (crc32(split.encode()), index, stream)
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def stage(seed: int, split: str, index: int, frames: int, size: tuple[int, int]) -> Scene:
    """Set up one sequence; cast, place, motion and light have seeds of their own."""
    cast, place, move, shine = (seed_stream(seed, split, index, k) for k in range(4))
    kind, motion = CLASSES[index % len(CLASSES)], MOTIONS[index // len(CLASSES) % len(MOTIONS)]
    view, bulk = np.array(size, dtype=np.float64), min(size) / 120 * move.uniform(25, 39)
    actors, target = gather(cast, kind, lead(move, frames, motion, bulk, view), bulk, view)
    background, pan = survey(place, frames, view)
    light, shutter = pick_light(shine, frames), shine.uniform(0, 0.25)
    return Scene(kind, motion, background, pan, actors, target, light, shutter)


def look_at(scene: Scene, frame: int, size: tuple[int, int]) -> Pixels:
    """The canvas (ZOOM H, ZOOM W, 3) with the background that the camera sees."""
    corner = -(scene.pan[frame] + MARGIN) * ZOOM
    wide, high = size[0] * ZOOM, size[1] * ZOOM
    seen = cv2.warpAffine(scene.background, np.column_stack([np.eye(2), corner]), (wide, high))
    return np.asarray(seen)


def compose(scene: Scene, frame: int, size: tuple[int, int]) -> tuple[Pixels, float]:
    """The frame (H, W, 3) before the light, and the target's visible share."""
    canvas = look_at(scene, frame, size)
    shown = np.zeros(canvas.shape[:2], dtype=np.float32)
    for rank, actor in enumerate(scene.actors):
        layer, rows, columns = warp(actor, frame, scene.shutter, canvas)
        clear = 1 - layer[..., 3:]
        canvas[rows, columns] = canvas[rows, columns] * clear + layer[..., :3]
        shown[rows, columns] *= clear[..., 0]
        if rank == scene.target:
            shown[rows, columns] = layer[..., 3]
    target = scene.actors[scene.target]
    whole = target.sprite.area * abs(np.linalg.det(target.poses[frame][:, :2])) * ZOOM**2
    image = cv2.resize(canvas, size, interpolation=cv2.INTER_AREA)
    return np.asarray(image), float(shown.sum() / whole)


def encode(image: Pixels) -> bytes:
    """JPEG bytes of an RGB image (H, W, 3)."""
    options = [cv2.IMWRITE_JPEG_QUALITY, QUALITY, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
    done, data = cv2.imencode(".jpg", image[..., ::-1].astype(np.uint8), options)
    if not done:
        raise RuntimeError("could not encode a frame as JPEG")
    return data.tobytes()


def film(scene: Scene, size: tuple[int, int], rng: Rng) -> Iterator[Shot]:
    """The frames of a scene with their annotation."""
    view, target = np.array(size, dtype=np.float64), scene.actors[scene.target]
    for frame in range(len(scene.pan)):
        image, visible = compose(scene, frame, size)
        contours = trace(target, frame)
        whole = extent(np.concatenate(contours))
        cut = bool((whole[:2] < 0).any() or (whole[2:] > view).any())
        box = visible_box(contours, view)
        yield Shot(encode(expose(image, scene.light, frame, rng)), box, visible, cut)


def cover_level(visible: float) -> int:
    """GOT-10k's cover label: 0 hidden, 1..7 in steps, 8 fully visible."""
    if visible < LEAST_VISIBLE:
        return 0
    steps = [0.15, 0.3, 0.45, 0.6, 0.75, 0.9, 0.98]
    return 1 + int(np.searchsorted(steps, visible))


def describe(scene: Scene, size: tuple[int, int]) -> str:
    """meta_info.ini with GOT-10k's keys."""
    meta = {
        "url": "none",
        "begin": "00:00:00",
        "end": f"00:00:{len(scene.pan) // 10:02d}",
        "anno_fps": "10Hz",
        "object_class": scene.kind,
        "motion_class": scene.motion,
        "major_class": scene.kind,
        "root_class": "object",
        "motion_adverb": "none",
        "resolution": f"({size[0]}, {size[1]})",
    }
    return "[METAINFO]\n" + "".join(f"{key}: {value}\n" for key, value in meta.items())


def annotate(shots: list[Shot]) -> dict[str, str]:
    """The text files with a row per frame."""
    levels = [cover_level(shot.visible) for shot in shots]
    pairs = zip(shots, levels, strict=True)
    boxes = [np.round(shot.box, 2) if level else np.zeros(4) for shot, level in pairs]
    rows = {
        "absence.label": [str(int(level == 0)) for level in levels],
        "cover.label": [str(level) for level in levels],
        "cut_by_image.label": [str(int(shot.cut)) for shot in shots],
        "groundtruth.txt": [
            f"{x0:.2f},{y0:.2f},{x1 - x0:.2f},{y1 - y0:.2f}" for x0, y0, x1, y1 in boxes
        ],
    }
    return {name: "".join(f"{row}\n" for row in column) for name, column in rows.items()}


def shoot(
    seed: int, split: str, index: int, frames: int, size: tuple[int, int]
) -> dict[str, bytes]:
    """The files of one sequence, by name."""
    scene = stage(seed, split, index, frames, size)
    shots = list(film(scene, size, seed_stream(seed, split, index, 4)))
    files = {f"{number:08d}.jpg": shot.jpeg for number, shot in enumerate(shots, 1)}
    texts = {**annotate(shots), "meta_info.ini": describe(scene, size)}
    return files | {name: text.encode() for name, text in texts.items()}


def write_shard(path: Path, sequences: Mapping[str, Mapping[str, bytes]]) -> None:
    """A tar whose bytes depend on its content alone."""
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as shard:
        for folder, files in sorted(sequences.items()):
            for name, data in sorted(files.items()):
                info = tarfile.TarInfo(f"{folder}/{name}")
                info.size = len(data)
                shard.addfile(info, io.BytesIO(data))


def write_split(folder: Path, count: int, frames: int, seed: int, size: tuple[int, int],
                bar: tqdm[Any]) -> None:  # fmt: skip
    """The shards and the list of the split that the folder is named after."""
    folder.mkdir()
    names = [f"synth_{folder.name}_{index:06d}" for index in range(count)]
    share = max(1, min(SHARD_FRAMES // frames, -(-count // 2)))
    for shard, first in enumerate(range(0, count, share)):
        sequences = {}
        for index in range(first, min(first + share, count)):
            sequences[names[index]] = shoot(seed, folder.name, index, frames, size)
            bar.update()
        write_shard(folder / f"shard-{shard:03d}.tar", sequences)
    (folder / "list.txt").write_text("".join(f"{name}\n" for name in names))


def synthesise(root: Path, *, seed: int = 0, sequences: Mapping[str, tuple[int, int]] = DEFAULT,
               size: tuple[int, int] = (160, 120), force: bool = False,
               progress: bool = True) -> Path:  # fmt: skip
    """Write the world under `root`: for each split, (count, frames), its shards and its list."""
    if root.exists() and not force and (not root.is_dir() or any(root.iterdir())):
        raise ValueError(f"{root} is not empty; pass force to replace it")
    root.parent.mkdir(parents=True, exist_ok=True)
    total = sum(count for count, _ in sequences.values())
    with (
        TemporaryDirectory(dir=root.parent, prefix=f".{root.name}-") as beside,
        tqdm(total=total, desc="synthesise", unit="seq", disable=not progress) as bar,
    ):
        fresh = Path(beside) / "new"
        fresh.mkdir()
        for split, (count, frames) in sequences.items():
            write_split(fresh / split, count, frames, seed, size, bar)
        if root.exists():
            root.rename(Path(beside) / "old")
        fresh.rename(root)
    return root
