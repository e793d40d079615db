"""Hostile and careless input: each is refused with a sentence that names it, and nothing is written."""

from __future__ import annotations

import os
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from tests.data.layouts.test_layouts import MOT, OURS, lay
from trackline import config
from trackline.cli import main
from trackline.data import footage, shards, table, tree
from trackline.data.layouts.text import parse_boxes
from trackline.errors import ConfigError, DataError, EmptyDataError

BOXES = "ball/groundtruth_rect.txt"
ROW = b"11,21,30,20\n"
Spoil = Callable[[Path], object]


def write(data: bytes, name: str = BOXES) -> Spoil:
    def act(root: Path) -> None:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)

    return act


def link_out(root: Path) -> None:
    (root / "ball/img").rename(root.with_name("elsewhere"))
    (root / "ball/img").symlink_to(root.with_name("elsewhere"))


def name_in_latin(root: Path) -> None:
    Path(os.fsdecode(os.fsencode(root / "ball") + b"/\xe9t\xe9.txt")).touch()


def pack(name: str, **changes: object) -> Spoil:
    def act(root: Path) -> None:
        with tarfile.open(root / "s.tar", "w") as tar:
            member = tarfile.TarInfo(name)
            for key, value in changes.items():
                setattr(member, key, value)
            tar.addfile(member)

    return act


def go_back(root: Path) -> None:
    """A size below zero, which leads readers of tars around in a circle."""
    member = tarfile.TarInfo("ball/1.jpg")
    member.size = -1024
    (root / "s.tar").write_bytes(member.tobuf(tarfile.GNU_FORMAT) + bytes(2048))


def nest(root: Path) -> None:
    (root / "a.tar").mkdir()
    with tarfile.open(root / "a.tar/s.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("ball/1.jpg"))


HOSTILE: dict[str, tuple[Spoil, str]] = {
    "a link out of the folder": (link_out, "a link that leads out"),
    "a member above the archive": (pack("../../etc/passwd"), "leads out of it"),
    "a member at the root": (pack("/etc/passwd"), "leads out of it"),
    "a linked member": (pack("ball/1.jpg", type=tarfile.SYMTYPE, linkname="/etc"), "not a plain file"),
    "a member of negative size": (go_back, r"s\.tar"),
    "a member with a name of a megabyte": (pack("a/" + "1" * 10**6 + "a.jpg"), "header of 1,000,0.. bytes"),
    "a member that steers the terminal": (pack("ball/\x1b[2J.jpg"), r"\\x1b\[2J"),
    "a folder called like an archive": (nest, "rename the folder"),
    "a file name in Latin-1": (name_in_latin, "plain UTF-8"),
    "a line without end": (write(b"1," * 10**6), "a line of more than"),
    "lines without end": (write(b"1\n" * 2_000_001), "has 2,000,001 lines"),
    "a picture for an annotation": (write(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"), r"rect\.txt:1 is not text"),
    "zeros": (write(ROW + bytes(99)), r"rect\.txt:2 is not text"),
    "Latin-1": (write(ROW * 2 + b"Stra\xdfe\n"), r"rect\.txt:3 is not text in UTF-8 \(byte 0xdf\)"),
    "UTF-32": (write(ROW.decode().encode("utf-32")), "is not text"),
    "a frame of the far future": (
        write(b"99999999,7,1,1,9,9,1,1,1\n", "V/gt/gt.txt"),
        r"gt\.txt:1 is '99999999,7,.*a row is frame",
    ),
    "many targets from two rows each": (
        write(
            b"".join(b"1,%d,1,1,9,9,1,1,1\n9000000,%d,1,1,9,9,1,1,1\n" % (k, k) for k in range(200)),
            "V/gt/gt.txt",
        ),
        "stretches its targets over 1,800,000,000 frames",
    ),
    "a cell of a megabyte": (
        write(OURS.encode() + b"3," + b"1" * 200_000 + b",1,1,1\n", "own/boxes.csv"),
        r"boxes\.csv:4 is no row of a table",
    ),
}  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A sound sequence of OTB's layout."""
    return lay(
        tmp_path / "set", {BOXES: ROW.decode() * 3}, *(f"ball/img/{k}.jpg" for k in (1, 2, 3))
    )


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_hostile_is_refused_by_name(name: str, root: Path) -> None:
    act, message = HOSTILE[name]
    act(root)
    before = sorted(os.walk(root.parent))
    start = time.process_time()
    with pytest.raises(DataError, match=message) as raised:
        footage.read_all(root)
    assert len(str(raised.value)) < 400
    assert "\x1b" not in str(raised.value)
    assert time.process_time() - start < 20
    assert sorted(os.walk(root.parent)) == before


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_marks_and_line_ends_of_other_systems_are_read(encoding: str, end: str, root: Path) -> None:
    (root / BOXES).write_bytes((3 * (ROW.decode().strip() + end)).encode(encoding))
    assert footage.read_all(root)["x"].tolist() == [10, 10, 10]


def test_an_archive_that_is_not_packed_again_is_named(tmp_path: Path) -> None:
    (tmp_path / "frames.zip").write_bytes(b"PK\3\4")
    with pytest.raises(EmptyDataError, match=r"frames\.zip.*unpack"):
        footage.find(tmp_path)


def test_a_number_of_a_million_digits_costs_no_more_than_its_length() -> None:
    start = time.process_time()
    assert parse_boxes("1" * 10**6 + "x").shape == (1, 4)
    assert time.process_time() - start < 5


def test_meta_files_with_endless_numbers_say_nothing(tmp_path: Path) -> None:
    info = f"[Sequence]\nimWidth={'9' * 5000}\nseqLength=3\n"
    lay(tmp_path, {"V/gt/gt.txt": MOT, "V/seqinfo.ini": info}, "V/img1/000001.jpg")
    row = footage.read_all(tmp_path).iloc[0]
    assert row[["stated_width", "stated_frames"]].tolist() == [0, 3]


def test_an_annotation_of_gigabytes_is_not_read(root: Path) -> None:
    with (root / BOXES).open("ab") as file:
        file.truncate(3 * 2**30)  # a hole: it takes no space
    with pytest.raises(DataError, match=r"3,072 MiB"):
        footage.read_all(root)


@pytest.mark.parametrize("image", ["../../etc/passwd", "/etc/passwd", "a/../../b.jpg"])
def test_a_table_that_names_images_elsewhere_is_refused(
    image: str, root: Path, tmp_path: Path
) -> None:
    rows = footage.read_all(root)
    rows.loc[1, "image"] = image
    rows.to_parquet(tmp_path / "table.parquet")
    with pytest.raises(DataError, match="outside the data folder"):
        table.read(tmp_path / "table.parquet")


def test_two_dots_within_a_name_are_none_of_that(root: Path, tmp_path: Path) -> None:
    rows = footage.read_all(root)
    rows["image"] = "ball..2/img/1.jpg"
    rows.to_parquet(tmp_path / "table.parquet")
    pd.testing.assert_frame_equal(table.read(tmp_path / "table.parquet"), rows)


@pytest.mark.parametrize(
    "text",
    [
        "data: !!python/object/apply:os.system ['touch owned']",
        "data: !unknown {path: x}",
        "data: &a [*a]",
        "[" * 3000,
        "data: {path: 2001-99-99}",
        f"validate: {{max_step: {'9' * 400}}}",
        "a: &a [x,x,x,x,x,x,x,x,x]\n"
        + "".join(
            f"{y}: &{y} [{','.join(['*' + x] * 9)}]\n"
            for x, y in zip("abcdefgh", "bcdefghi", strict=True)
        )
        + "data: *i\n",
        "data: {layout: " + "[" * 50 + "]" * 50 + "}",
    ],
    ids=["python", "tag", "loop", "depth", "date", "digits", "aliases", "nested"],
)
def test_settings_that_do_harm_are_refused(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"params\.yaml") as raised:
        config.load(Path("params.yaml"))
    assert len(str(raised.value)) < 2000
    assert not Path("owned").exists()


@pytest.mark.parametrize(
    ("path", "message"), [("nowhere", "does not exist"), ("file", "is a file, not a folder")]
)
def test_a_path_that_is_no_folder_is_said_to_be_none(
    path: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert main(["data", "inspect", str(tmp_path / path)]) == 11
    assert message in capsys.readouterr().err


def test_a_folder_that_may_not_be_listed_is_not_passed_over(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: object) -> object:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refuse)  # the superuser may read everything
    with pytest.raises(DataError, match="cannot be read"):
        shards.find(root, "")


def test_text_is_decoded_or_refused_at_its_line() -> None:
    with pytest.raises(DataError, match=r"f:2 is not text"):
        tree.decode(b"1\n\x07", "f")
