"""Annotations at size: ten million rows validated and profiled for drift, 50 000 frames indexed again.

    make scale                              # all three, with CPU seconds and peak memory of each
    python -m benchmarks.annotations --rows 1000000 --frames 5000

The table is drawn, of the size and shape of TrackingNet's, with defects planted that must be counted right;
its rows share a few real images, so that drift decodes, while validation leaves images alone here.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

LENGTH = 480  # frames of a sequence
IMAGES = 64
PLANTED = {  # rule, and how many rows break it
    "boxes are finite": 20,
    "boxes are positive": 10,
    "boxes are inside their image": 30,
}
Task = Callable[[Path], dict[str, Any]]


def draw_images(folder: Path, size_wh: tuple[int, int] = (1280, 720)) -> None:
    """Write some images of soft noise, with the bytes of a photograph."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for number in range(IMAGES):
        small = rng.integers(0, 255, (size_wh[1] // 16, size_wh[0] // 16, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{number}.jpg"), cv2.resize(small, size_wh))


def write_table(path: Path, rows: int) -> int:
    """Write an annotation table in the order that the index step leaves; give its number of rows."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from trackline.data.table import COLUMNS

    count = max(60, rows // LENGTH)
    rng, total = np.random.default_rng(0), count * LENGTH
    at, frame = np.repeat(np.arange(count), LENGTH), np.tile(np.arange(LENGTH), count)

    def name(values: list[str], of: Any = at) -> Any:
        return pa.DictionaryArray.from_arrays(pa.array(of.astype(np.int32)), pa.array(values))

    ends = sorted([0, count // 50, count - count // 50])  # test, train, val by name
    split = np.searchsorted(ends, np.arange(count), side="right") - 1
    names = [f"{number:011d}_0" for number in range(count)]
    phase = rng.uniform(0, 6, count)[at]
    boxes = {
        "x": 500 + 300 * np.sin(phase + frame / 100) + rng.normal(0, 1, total),
        "y": 300 + 100 * np.cos(phase + frame / 77) + rng.normal(0, 1, total),
        "w": 80 + rng.normal(0, 1, total),
        "h": 60 + rng.normal(0, 1, total),
    }
    spoilt = rng.choice(count, sum(PLANTED.values()), replace=False) * LENGTH + LENGTH // 2
    finite, positive, _ = np.split(spoilt, np.cumsum(list(PLANTED.values()))[:-1])
    boxes["x"][finite], boxes["w"][positive], boxes["x"][spoilt[30:]] = np.nan, 0, 1250
    images = pa.array([f"images/{number}.jpg" for number in range(IMAGES)])
    numbered = {"frame": frame, "line": frame + 1, "width": 1280, "height": 720, "offset": -1}
    constant = {"bytes": 50_000, "footage_frames": LENGTH, "cover": np.nan}
    columns = {
        "dataset": name(["trackingnet"], at * 0),
        "split": name(["test", "train", "val"], split[at]),
        "sequence": name(names),
        "image": pc.cast(
            pa.DictionaryArray.from_arrays(pa.array(frame % IMAGES), images), pa.string()
        ),
        "class": name([f"class {k}" for k in range(20)], at % 20),
        "source": name([f"TRAIN_{k * 12 // count}/anno/{n}.txt" for k, n in enumerate(names)]),
        "visible": np.ones(total, dtype=bool),
        "amodal": np.zeros(total, dtype=bool),
        **boxes,
        **numbered,
        **constant,
    }
    kinds = {"str": None, "bool": pa.bool_(), "int32": pa.int32(), "int64": pa.int64()}
    table = {}
    for column, kind in COLUMNS.items():
        value = columns.get(column, 0)
        array = np.full(total, value) if np.isscalar(value) else value
        table[column] = array if kind == "str" else pa.array(array, kinds.get(kind, pa.float64()))
    pq.write_table(pa.table(table), path, compression="zstd")
    return total


def validate(folder: Path) -> dict[str, Any]:
    """Validate the table, images aside, and count what was planted."""
    from components.validate import validate
    from trackline.config import Validate
    from trackline.errors import DataError

    outputs = (folder / "validate.json", folder / "validation.html", folder / "quarantine.parquet")
    try:
        validate(folder / "table.parquet", folder, Validate(image_sample=0.0), (), *outputs)
    except DataError as error:
        print(error)
    told = json.loads(outputs[0].read_text())
    found = {rule["name"]: rule["count"] for rule in told["rules"] if rule["severity"] == "error"}
    assert {name: count for name, count in found.items() if count} == PLANTED
    return {"rows": told["rows"]}


def drift(folder: Path) -> dict[str, Any]:
    """Profile the table and compare it with a reference: its own first profile."""
    from components.drift import drift
    from trackline.config import Drift

    outputs = (folder / "profile.json", folder / "drift.json", folder / "drift.html")
    reference = folder / "reference.json"
    found = drift(
        folder / "table.parquet",
        folder,
        reference if reference.is_file() else None,
        Drift(),
        *outputs,
    )
    outputs[0].rename(reference)
    return {"verdict": found.verdict, "features": len(found.features)}


def index(folder: Path) -> dict[str, Any]:
    """Index a folder of loose frames."""
    from components.index import index

    found = index(folder / "frames", folder / "annotations.parquet")
    return {"frames": sum(found.frames.values())}


TASKS: dict[str, Task] = {"validate": validate, "drift": drift, "index": index}


def draw_frames(folder: Path, frames: int) -> None:
    """Write sequences of fifty frames in GOT-10k's layout, small images of the same few."""
    draw_images(folder.with_name("small"), (160, 120))
    data = [folder.with_name("small").joinpath(f"{k}.jpg").read_bytes() for k in range(IMAGES)]
    for number in range(frames // 50):
        home = folder / "train" / f"s{number:05d}"
        home.mkdir(parents=True)
        for frame in range(50):
            (home / f"{frame + 1:08d}.jpg").write_bytes(data[frame])
        (home / "groundtruth.txt").write_text("".join(f"{10 + k},20,30,40\n" for k in range(50)))


def measure(task: str, folder: Path) -> dict[str, Any]:
    """Do a task in a process of its own; tell its CPU seconds, wall seconds and peak memory."""
    line = (sys.executable, "-m", "benchmarks.annotations", "--task", task, "--folder", str(folder))
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{task} failed:\n{done.stdout}{done.stderr}")
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(task, told, flush=True)
    return told


def main() -> None:
    """Draw, measure, print; or do one task, in the process that is measured."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--frames", type=int, default=50_000)
    parser.add_argument("--task", choices=TASKS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.task:
        start = time.perf_counter()
        told = TASKS[given.task](given.folder)
        used = resource.getrusage(resource.RUSAGE_SELF)
        told["cpu_s"] = round(used.ru_utime + used.ru_stime, 1)
        told["wall_s"] = round(time.perf_counter() - start, 1)
        print(json.dumps(told | {"peak_gb": round(used.ru_maxrss / 1e6, 2)}))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw_images(folder / "images")
        line = f"write_table(Path({str(folder / 'table.parquet')!r}), {given.rows})"
        code = f"from pathlib import Path; from benchmarks.annotations import write_table; {line}"
        subprocess.run((sys.executable, "-c", code), check=True)
        for task in ("validate", "drift", "drift"):
            measure(task, folder)
        draw_frames(folder / "frames", given.frames)
        for _ in range(2):
            measure("index", folder)


if __name__ == "__main__":
    main()
