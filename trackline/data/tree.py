"""The files of a data set by folder, loose ones and members of tar shards alike."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from trackline.data import shards
from trackline.data.frames import read_bytes
from trackline.data.images import SUFFIXES
from trackline.data.shards import Entry
from trackline.errors import DataError

SPLITS = ("train", "val", "test")
SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
LARGEST_NOTE = 256 * 2**20  # bytes; a line a frame makes that more than a million frames
MOST_LINES = 2_000_000  # of an annotation file; eighteen hours at 30 frames a second
LONGEST_LINE = 2**20  # characters; LaSOT keeps the flags of a whole sequence on one
CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")  # what text does not hold
MOST_FRAMES = 2**31 - 1

Files = dict[str, list[Entry]]  # by name; a file that is both loose and in a shard occurs twice


@dataclass(frozen=True)
class Tree:
    """A folder with all that is below it; a shard's members lie in the folder of the shard."""

    root: Path  # what the paths of entries are relative to
    name: str
    folders: dict[str, Files]  # by path below this tree; "" is its top
    nested: bool = False

    def below(self, top: str) -> Tree:
        """The tree of one folder directly below."""
        inside = {
            folder[len(top) + 1 :]: files
            for folder, files in self.folders.items()
            if folder == top or folder.startswith(f"{top}/")
        }
        return Tree(self.root, f"{self.name}/{top}" if self.nested else top, inside, nested=True)

    def without(self, tops: Iterable[str]) -> Tree:
        """This tree without some of its folders."""
        left = {f: files for f, files in self.folders.items() if f.partition("/")[0] not in tops}
        return Tree(self.root, self.name, left, self.nested)

    @property
    def tops(self) -> list[str]:
        """The folders directly below."""
        return sorted({folder.partition("/")[0] for folder in self.folders} - {""})

    def holding(self, name: str) -> Iterator[tuple[str, Files]]:
        """Folders that hold a file of this name, with all their files."""
        for folder in sorted(self.folders):
            if name in self.folders[folder]:
                yield folder, self.folders[folder]

    def get(self, path: str) -> Entry | None:
        """One file by its path below this tree."""
        folder, _, name = path.rpartition("/")
        found = self.folders.get(folder, {}).get(name)
        return found[0] if found else None

    def files(self, folder: str) -> Files:
        """The files of one folder, not of those below it."""
        return self.folders.get(folder, {})

    def read_text(self, entry: Entry | None) -> str:
        """Read an annotation file as text, "" where there is none; raises DataError for what is not text."""
        if entry is None:
            return ""
        if entry.bytes > LARGEST_NOTE:
            raise DataError(
                f"{entry.path} has {entry.bytes / 2**20:,.0f} MiB; an annotation file holds a line a "
                f"frame and is refused beyond {LARGEST_NOTE / 2**20:.0f} MiB: split the sequence or "
                "move the file away"
            )
        try:
            data = read_bytes(self.root, entry.path, entry.offset, entry.bytes)
        except OSError as error:
            raise DataError(f"{entry.path} cannot be read ({error.strerror})") from None
        return decode(data, entry.path)


def grow(root: Path) -> Tree:
    """List everything below `root`; raises DataError for unsafe or damaged shards and links that lead out."""
    folders: dict[str, Files] = defaultdict(lambda: defaultdict(list))
    for entry in shards.find(root, ""):
        folder, _, name = _place(entry).rpartition("/")
        folders[folder][name].append(entry)
    plain = {folder: dict(files) for folder, files in folders.items()}
    return Tree(root, root.resolve().name, plain)


def decode(data: bytes, name: str) -> str:
    """Decode text whatever its byte order mark says.

    Raises DataError for binary data, another encoding than UTF-8 or UTF-16, endless lines or too many.
    """
    wide = data[:2] in (b"\xff\xfe", b"\xfe\xff")
    try:
        text = data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise DataError(
            f"{name}:{line} is not text in UTF-8 (byte 0x{data[error.start]:02x}); "
            "annotation files are plain text: save it as UTF-8, or export it again if it is binary"
        ) from None
    if odd := CONTROL.search(text):
        line = text[: odd.start()].count("\n") + 1
        raise DataError(
            f"{name}:{line} is not text (it holds the character {odd[0]!a}); "
            "annotation files are plain text: export it again"
        )
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if (lines := text.count("\n")) > MOST_LINES:
        raise DataError(
            f"{name} has {lines:,} lines; an annotation file has a line a frame and is refused beyond "
            f"{MOST_LINES:,}: split the sequence or move the file away"
        )
    if len(text) > LONGEST_LINE and max(map(len, text.split("\n"))) > LONGEST_LINE:
        raise DataError(
            f"{name} has a line of more than {LONGEST_LINE:,} characters; "
            "annotation files hold one frame a line: export it again"
        )
    return text


def number_images(files: Files) -> dict[int, list[Entry]]:
    """Give the images among `files` by the number that ends their name; raises DataError without one."""
    images: dict[int, list[Entry]] = defaultdict(list)
    for name, entries in files.items():
        if name.lower().endswith(SUFFIXES):
            images[_read_number(name, entries[0])] += entries
    return dict(images)


def read_split(folder: str) -> tuple[str, str]:
    """Take a split's name from the front of a path: ("train", "a") of "training/a", ("", "a") of "a"."""
    top, _, rest = folder.partition("/")
    split = SPLIT_NAMES.get(top.lower(), "")
    return (split, rest) if split else ("", folder)


def _read_number(name: str, entry: Entry) -> int:
    found = re.search(r"([0-9]+)$", name.rpartition(".")[0])
    if not found:
        raise DataError(
            f"{entry.path} has no frame number for a name; "
            "frames are called 00000001.jpg and so on: rename it or take it out of the folder"
        )
    number = int(found[1])
    if number >= MOST_FRAMES:
        raise DataError(
            f"{entry.path} claims to be frame {number}; frames are numbered below {MOST_FRAMES}: rename it"
        )
    return number


def _place(entry: Entry) -> str:
    """Where a file lies in the tree; files at the very top of a shard take a folder of the shard's name."""
    if entry.offset < 0:
        return entry.path
    shard = PurePosixPath(entry.container)
    inside = entry.member if "/" in entry.member else f"{shard.stem}/{entry.member}"
    return (shard.parent / inside).as_posix()
