"""Listing files: loose ones and members of tar shards, never an unsafe or damaged one."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from trackline.data import shards
from trackline.data.frames import read_bytes
from trackline.errors import DataError


def pack(shard: Path, files: dict[str, bytes]) -> Path:
    """Write a tar of the given members."""
    shard.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(shard, "w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return shard


def pack_member(shard: Path, member: tarfile.TarInfo) -> Path:
    with tarfile.open(shard, "w") as tar:
        tar.addfile(member)
    return shard


def test_every_file_is_listed_by_path_and_its_bytes_are_where_the_entry_says(
    tmp_path: Path,
) -> None:
    pack(tmp_path / "train/s.tar", {"./b/1.jpg": b"in the shard", "b/2.jpg": b"too"})
    (tmp_path / "train/a").mkdir()
    (tmp_path / "train/a/1.jpg").write_bytes(b"loose")

    entries = shards.find(tmp_path, "train")

    assert [entry.path for entry in entries] == [
        "train/a/1.jpg",
        "train/s.tar/b/1.jpg",
        "train/s.tar/b/2.jpg",
    ]
    read = [read_bytes(tmp_path, entry.path, entry.offset, entry.bytes) for entry in entries]
    assert read == [b"loose", b"in the shard", b"too"]


def test_an_entry_knows_the_file_to_open_and_its_place_inside(tmp_path: Path) -> None:
    (entry,) = shards.index(pack(tmp_path / "s.tar", {"b/1.jpg": b"x"}), "train/s.tar")
    assert (entry.container, entry.member) == ("train/s.tar", "b/1.jpg")


def test_hidden_files_are_left_out(tmp_path: Path) -> None:
    pack(tmp_path / "train/s.tar", {"b/._1.jpg": b"left by a Mac"})
    (tmp_path / "train/.cache").mkdir()
    (tmp_path / "train/.cache/1.jpg").touch()
    assert shards.find(tmp_path, "train") == []


def test_linked_folders_of_loose_files_are_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/1.jpg").touch()
    (tmp_path / "train").symlink_to(tmp_path / "elsewhere")
    assert [entry.path for entry in shards.find(tmp_path, "train")] == ["train/1.jpg"]


@pytest.mark.parametrize("name", ["../evil.jpg", "/etc/evil.jpg", "a/../../evil.jpg"])
def test_a_path_that_leads_out_of_the_shard_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="leads out"):
        shards.index(pack(tmp_path / "s.tar", {name: b"x"}), "s.tar")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(tmp_path: Path, kind: bytes) -> None:
    member = tarfile.TarInfo("a/1.jpg")
    member.type, member.linkname = kind, "/etc/passwd"
    with pytest.raises(DataError, match="not a plain file"):
        shards.index(pack_member(tmp_path / "s.tar", member), "s.tar")


@pytest.mark.parametrize("kept", [100, 700, 1024, 1500, 1536])
def test_a_shard_that_was_cut_is_refused(tmp_path: Path, kept: int) -> None:
    shard = pack(tmp_path / "s.tar", {"a/1.jpg": b"x" * 512, "a/2.jpg": b"y" * 512})
    shard.write_bytes(shard.read_bytes()[:kept])
    with pytest.raises(DataError, match=r"s\.tar"):
        shards.index(shard, "s.tar")


def test_a_shard_with_a_broken_header_does_not_lose_its_rest_in_silence(tmp_path: Path) -> None:
    shard = pack(tmp_path / "s.tar", {"a/1.jpg": b"x", "a/2.jpg": b"y"})
    data = bytearray(shard.read_bytes())
    data[1024 + 148] ^= 0xFF  # the checksum of the second header
    shard.write_bytes(data)
    with pytest.raises(DataError, match="damaged at byte 1024"):
        shards.index(shard, "s.tar")


def test_what_is_no_tar_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s.tar").write_bytes(b"not a tar" * 200)
    with pytest.raises(DataError, match="not a readable tar"):
        shards.index(tmp_path / "s.tar", "s.tar")
