"""Files that matter: written whole or not at all, hashed, and packaged."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trackline.errors import PackageError

if TYPE_CHECKING:
    import pandas as pd

SUMS = "SHA256SUMS"
SIGNATURE = "model.sig"  # covers the sums, and so is not covered by them


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; on success fsync it and rename it over `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder beside `path`; on success it takes the place of `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        yield temporary
        temporary.chmod(0o777 & ~_umask())
        for file in temporary.rglob("*"):
            _sync(file)
        old = temporary.with_name(f"{temporary.name}.old")
        if path.exists():
            path.rename(old)
        temporary.rename(path)
        _sync(path.parent)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically; a number that is not finite becomes null, as strict JSON wants."""
    write_text(
        path, json.dumps(_finite(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    )


def read_json(path: Path) -> Any:
    """Read a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table as Parquet (zstd) or CSV, by the suffix of `path`, atomically."""
    with replacing(path) as temporary:
        if path.suffix == ".csv":
            table.to_csv(temporary, index=False, float_format="%.6g")
        else:
            table.to_parquet(temporary, index=False, compression="zstd")


def sha256(path: Path) -> str:
    """Hash one file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(value: Any) -> str:
    """Hash a JSON-able value by its canonical text."""
    text = json.dumps(_finite(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def write_sums(folder: Path) -> str:
    """Write SHA256SUMS over every other file of `folder`; return the hash of that file."""
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    lines = [
        f"{sha256(folder / name)}  {name}\n" for name in names if name not in (SUMS, SIGNATURE)
    ]
    write_text(folder / SUMS, "".join(lines))
    return sha256(folder / SUMS)


def find_altered(folder: Path) -> list[str]:
    """Name the files of a package that differ from, are missing in, or are not listed in its sums.

    Raises FileNotFoundError when the package has no SHA256SUMS.
    """
    listed = read_sums(folder / SUMS)
    present = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    present -= {SUMS, SIGNATURE}
    wrong = [n for n in listed if n not in present or sha256(folder / n) != listed[n]]
    return sorted({*wrong, *(present - listed.keys())})


def verify(folder: Path) -> str:
    """Check a package against its sums; return the hash of the sums; raise PackageError otherwise."""
    if not (folder / SUMS).is_file():
        raise PackageError(f"{folder} has no {SUMS}; it is not a model package of Trackline")
    if altered := find_altered(folder):
        raise PackageError(
            f"{folder} was altered: {', '.join(altered)} does not match {SUMS}; fetch or train it again"
        )
    return sha256(folder / SUMS)


def read_sums(path: Path) -> dict[str, str]:
    """The hashes that a SHA256SUMS lists, by file name."""
    rows = (line.split("  ", 1) for line in path.read_text(encoding="utf-8").splitlines() if line)
    return {name: sum_ for sum_, name in rows}


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if hasattr(value, "item") and not isinstance(value, str):  # numpy and torch scalars
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
