"""Footage brought in: copied below data/, small files packed in tar shards, and handed to DVC."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

from tqdm import tqdm

from trackline import artifacts
from trackline.data import footage, shards, videos
from trackline.data.frames import read_bytes
from trackline.data.shards import Entry
from trackline.errors import DataError, UsageError

SHARD_BYTES = 256 * 2**20
FEW_FILES = 100  # are left loose


def bring_in(path: Path, name: str, data: Path = Path("data")) -> str:
    """Copy footage to data/NAME, add it to DVC and say what was done.

    Raises UsageError for an impossible name or place, DataError when the footage cannot be read or DVC
    refuses it; then nothing is left behind.
    """
    if not re.fullmatch(r"[\w][\w.-]*", name):
        raise UsageError(f"{name!r} cannot name a data set; use letters, digits, '.', '-' and '_'")
    if Path(f"{data}.dvc").exists():
        raise UsageError(
            f"{data}.dvc holds the whole of {data}/; `dvc remove {data}.dvc && rm -r {data}` first, "
            "then add each data set, the demo too: `trackline data add demo --as demo`"
        )
    if (data / name).exists() or (data / f"{name}.dvc").exists():
        raise UsageError(f"{data / name} is there already; choose another name or remove it")
    found = footage.find(path)
    entries = shards.find(path, "")
    with artifacts.replacing_folder(data / name) as folder:
        count = pack(path, entries, folder)
    done = subprocess.run(
        (sys.executable, "-m", "dvc", "add", "--quiet", str(data / name)),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise DataError(
            f"DVC did not take {data / name} ({done.stderr.strip()}); it lies there unheld"
        )
    layouts = ", ".join(sorted({one.layout for one in found}))
    return (
        f"added {len(found)} clips ({layouts}) as {data / name}, {len(entries)} files in {count}; "
        f"next: git add {data / name}.dvc {data}/.gitignore && make run"
    )


def pack(root: Path, entries: list[Entry], folder: Path) -> int:
    """Copy files into `folder`, small ones into shards of whole folders; give the number of files made."""
    small = [e for e in entries if not videos.is_video(e.path) and "/" in _place(e)]
    if len(small) <= FEW_FILES:
        small = []
    packed = set(map(id, small))
    loose = [entry for entry in entries if id(entry) not in packed]
    for entry in loose:
        target = folder / _place(entry)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(_read(root, entry))
    parts = list(_part(sorted(small, key=_place)))
    for number, part in enumerate(tqdm(parts, "pack", disable=None, unit=" shards", leave=False)):
        with tarfile.open(folder / f"shard-{number:04d}.tar", "w") as tar:
            for entry in part:
                member = tarfile.TarInfo(_place(entry))
                member.size = entry.bytes
                tar.addfile(member, BytesIO(_read(root, entry)))
    return len(loose) + len(parts)


def _part(entries: list[Entry]) -> Iterator[list[Entry]]:
    """Cut a list at folders where a shard is full."""
    part: list[Entry] = []
    size, home = 0, ""
    for entry in entries:
        here = _place(entry).rpartition("/")[0]
        if size > SHARD_BYTES and here != home:
            yield part
            part, size = [], 0
        part.append(entry)
        size, home = size + entry.bytes, here
    if part:
        yield part


def _place(entry: Entry) -> str:
    """The path of a file, or of a shard's member as if it lay loose in the shard's folder."""
    if entry.offset < 0:
        return entry.path
    return f"{entry.container.rpartition('/')[0]}/{entry.member}".lstrip("/")


def _read(root: Path, entry: Entry) -> bytes:
    if entry.offset < 0:
        return (root / entry.path).read_bytes()
    return read_bytes(root, entry.path, entry.offset, entry.bytes)
