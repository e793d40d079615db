"""Files below a folder, loose or packed in tar shards: where the bytes of each of them lie."""

from __future__ import annotations

import os
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from trackline.errors import DataError

BLOCK = tarfile.BLOCKSIZE
LONGEST_HEADER = 8192  # bytes of a member's further headers; tarfile searches them in square time
LONGEST_NAME = 4096  # characters of a path, as on disk
UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")  # controls, and what is not UTF-8
CACHED = re.compile(r"/files/md5/[0-9a-f]{2}/[0-9a-f]{30}")  # DVC may link to its cache


@dataclass(frozen=True, slots=True)
class Entry:
    """One file: its path below the root (SHARD.tar/MEMBER inside a shard) and where its bytes lie."""

    path: str
    offset: int  # where it starts in its shard; -1 for a loose file
    bytes: int

    @property
    def container(self) -> str:
        """The file to open: the shard, or the loose file itself."""
        return self.path if self.offset < 0 else self.path[: self.path.index(".tar/") + 4]

    @property
    def member(self) -> str:
        """The path inside the shard, or the whole path of a loose file."""
        return self.path if self.offset < 0 else self.path[self.path.index(".tar/") + 5 :]


def find(root: Path, folder: str) -> list[Entry]:
    """List every file below root/folder by path, the members of a shard in place of the shard.

    Hidden files and DVC's pointers are left out. Raises DataError for a shard that is damaged or unsafe,
    for a link that leads out of root other than into DVC's cache, for names that are not text, and for
    folders that may not be read.
    """
    paths = sorted(_walk(root, root / folder))
    entries = []
    for path in tqdm(paths, f"list {folder or root}", disable=None, unit=" files", leave=False):
        name = _check_name(path.relative_to(root).as_posix(), str(root))
        if path.suffix == ".tar":
            if ".tar/" in name:
                raise DataError(f"{name} is a shard in a folder named like one; rename the folder")
            entries += index(path, name)
        else:
            entries.append(Entry(name, -1, path.stat().st_size))
    return sorted(entries, key=lambda entry: entry.path)


def index(shard: Path, name: str) -> list[Entry]:
    """List the files in one uncompressed tar; `name` is the shard's path below the root.

    Raises DataError when a member is a link or points outside, or when the archive is cut or damaged.
    """
    try:
        with tarfile.open(shard, "r:", tarinfo=_Member) as tar:
            entries = [_entry(member, name) for member in _list(tar) if not member.isdir()]
            end = tar.offset
    except (tarfile.TarError, ValueError, OverflowError, OSError) as error:
        raise DataError(
            f"{name} is not a readable tar ({error}); pack it again, uncompressed"
        ) from None
    _check_end(shard, name, end)
    return [entry for entry in entries if not PurePosixPath(entry.path).name.startswith(".")]


def _walk(root: Path, folder: Path) -> Iterator[Path]:
    """List plain files, following only links that stay inside; a loop of links ends where it closes."""
    real, seen = root.resolve(), set()
    for parent, folders, files in os.walk(folder, onerror=_refuse, followlinks=True):
        home = Path(parent).resolve()
        if home in seen:
            folders[:] = []
            continue
        seen.add(home)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in (*folders, *files):
            _check_link(real, Path(parent, name))
        shown = (name for name in files if not name.startswith(".") and not name.endswith(".dvc"))
        yield from (path for name in shown if _is_plain(path := Path(parent, name)))


def _refuse(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise DataError(
            f"{error.filename} cannot be read ({error.strerror}); give yourself leave to"
        )


def _check_name(name: str, where: str) -> str:
    """Refuse names that could not be written into a table, or would steer a terminal."""
    if UNPRINTABLE.search(name) or len(name) > LONGEST_NAME:
        raise DataError(
            f"{where} holds a file named {name[:60]!a}, which is not plain UTF-8 text "
            f"of at most {LONGEST_NAME} characters; rename it"
        )
    return name


def _check_link(root: Path, path: Path) -> None:
    if not path.is_symlink():
        return
    target = path.resolve()
    if not target.is_relative_to(root) and not CACHED.search(target.as_posix()):
        raise DataError(
            f"{path} is a link that leads out of the data folder, to {target}; "
            "copy what it points at, or mount it in its place"
        )


def _is_plain(path: Path) -> bool:
    return path.is_file()  # not a pipe, a socket, a device or a link to nothing


class _Member(tarfile.TarInfo):
    """A member whose headers are looked at before tarfile reads them."""

    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        """Refuse what is too long; tarfile names this method as the place for subclasses to step in."""
        further = (
            tarfile.XHDTYPE,
            tarfile.XGLTYPE,
            tarfile.GNUTYPE_LONGNAME,
            tarfile.GNUTYPE_LONGLINK,
        )
        if self.type in further and not 0 <= self.size <= LONGEST_HEADER:
            raise tarfile.ReadError(
                f"a member has a header of {self.size:,} bytes, {LONGEST_HEADER:,} is the most"
            )
        member: tarfile.TarInfo = super()._proc_member(tar)  # type: ignore[misc]
        return member


def _list(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """The members in order; a negative size would lead tarfile back and around forever."""
    for member in tar:
        if member.size < 0:
            raise tarfile.ReadError(f"{member.name[:60]!a} has {member.size} bytes")
        yield member


def _entry(member: tarfile.TarInfo, shard: str) -> Entry:
    path = PurePosixPath(_check_name(member.name, shard))
    if path.is_absolute() or ".." in path.parts:
        raise DataError(
            f"{shard} holds {member.name!r}, a path that leads out of it; pack it again"
        )
    if not member.isreg() or member.issparse():
        raise DataError(f"{shard} holds {member.name!r}, not a plain file; pack it without links")
    return Entry(f"{shard}/{path}", member.offset_data, member.size)


def _check_end(shard: Path, name: str, end: int) -> None:
    """Refuse an archive without its end mark: tarfile takes a broken header for the end and says nothing."""
    with shard.open("rb") as file:
        file.seek(end)
        mark = file.read(2 * BLOCK)
        while mark.count(0) == len(mark) >= BLOCK and (more := file.read(2**20)):
            mark = more.ljust(BLOCK, b"\0")
    if len(mark) < BLOCK or mark.count(0) < len(mark):
        raise DataError(f"{name} is cut or damaged at byte {end}; copy or pack it again")
