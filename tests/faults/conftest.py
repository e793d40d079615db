"""Sound footage as loose files, ready to be spoilt, and the score at the end."""

from __future__ import annotations

import os
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from trackline import config
from trackline.data import footage, images
from trackline.data.facts import Facts
from trackline.data.rules import RULES
from trackline.data.table import BOX, COLUMNS

ROOT = Path(__file__).parents[2]
PARAMS = config.load(ROOT / "params.yaml")
DEMO = bool(os.environ.get("FAULTS"))  # the default data instead of the miniature of it

Places = set[str]  # SEQUENCE/FRAME, or the name of a split
Change = Callable[[pd.DataFrame], pd.DataFrame]


def leave(table: pd.DataFrame) -> pd.DataFrame:
    """Change nothing."""
    return table


@dataclass
class Scene:
    """A copy of sound footage; whoever spoils it says which rule must see it, and where."""

    root: Path
    sound: pd.DataFrame
    limits: config.Validate
    touched: set[str] = field(default_factory=set)
    spoil: Change = leave  # what happens to the table, after it is indexed

    @cached_property
    def steady(self) -> list[str]:
        """Training sequences whose target is in full view throughout, of two classes or more."""
        return self._find_steady("train")

    @property
    def name(self) -> str:
        """The sequence to spoil."""
        return self.steady[0]

    @property
    def frames(self) -> int:
        """How many it has."""
        return len(self.rows(self.name))

    def _find_steady(self, split: str) -> list[str]:
        rows = self.sound[self.sound["split"] == split]
        seen = rows["visible"] & (rows["cover"] == 1)
        return sorted(set(rows["sequence"]) - set(rows.loc[~seen, "sequence"]))

    def of(self, split: str) -> str:
        """A steady sequence of another split."""
        return self._find_steady(split)[0]

    def rows(self, name: str) -> pd.DataFrame:
        """The sound rows of a sequence."""
        rows: pd.DataFrame = self.sound[self.sound["sequence"] == name]
        return rows

    def open(self, name: str = "") -> Path:
        """The folder of a sequence, its files apart from those of the sound footage."""
        name = name or self.name
        folder = self.root / str(self.rows(name)["split"].iloc[0]) / name
        for file in folder.iterdir() if name not in self.touched else ():
            data = file.read_bytes()
            file.unlink()
            file.write_bytes(data)
        self.touched.add(name)
        return folder

    def image(self, frame: int, name: str = "") -> Path:
        """The file of one frame."""
        return self.open(name) / f"{frame + 1:08d}.jpg"

    def edit(self, line: int, text: str | None, file: str = "groundtruth.txt") -> None:
        """Replace a line of an annotation file, or delete it."""
        path = self.open() / file
        lines = path.read_text().splitlines()
        lines[line : line + 1] = [] if text is None else [text]
        path.write_text("\n".join(lines) + "\n")

    def write_boxes(self, boxes: list[tuple[float, ...]]) -> None:
        """Annotate the sequence anew."""
        text = "".join(",".join(f"{v:g}" for v in box) + "\n" for box in boxes)
        (self.open() / "groundtruth.txt").write_text(text)

    def boxes(self) -> list[tuple[float, ...]]:
        """Its sound boxes x, y, w, h."""
        return [tuple(box) for box in self.rows(self.name)[BOX].to_numpy().tolist()]

    def walk(self) -> list[tuple[float, ...]]:
        """Boxes of a target so small that the image has room to jump and to grow."""
        return [(40.0 + k, 50.0, 8.0, 8.0) for k in range(self.frames)]

    def at(self, *frames: int, name: str = "") -> Places:
        """Places in the sequence."""
        return {f"{name or self.name}/{frame}" for frame in frames}

    def whole(self, name: str = "") -> Places:
        """All places of a sequence."""
        return self.at(*range(len(self.rows(name or self.name))), name=name)

    def judge(self) -> dict[str, Places]:
        """Where each rule is broken; only what was touched is read anew."""
        kept = dict(iter(self.sound.groupby("sequence")))
        parts = []
        for one in footage.find(self.root, PARAMS.data):
            name = one.clip.name
            if name in kept and name not in self.touched:
                parts.append({column: kept[name][column].to_numpy() for column in COLUMNS})
            else:
                parts.extend(footage.read(one, PARAMS.data.class_map))
        table = self.spoil(footage.join(parts))
        table = table.sort_values(["split", "sequence", "frame"], kind="stable", ignore_index=True)
        checks = images.check(self.root, table, 1.0, self.limits.max_image_mpx)
        facts = Facts(table, checks, self.limits, PARAMS.data.classes)
        found = {}
        for rule in RULES:
            places = facts.units[rule.unit].loc[rule.find(facts).index]
            told = places["sequence"] + "/" + places["frame"].astype("str")
            found[rule.name] = set(places["source"] if rule.unit == "split" else told)
        return {name: places for name, places in found.items() if places}


@pytest.fixture(scope="session")
def sound(world: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame]:
    """Sound footage unpacked, with its table; the working directory holds what is known of its images."""
    root = tmp_path_factory.mktemp("faults") / "data"
    source = ROOT / "demo" if DEMO else world
    for file in sorted(source.rglob("*.*")):
        place = root / file.relative_to(source).parent
        if file.suffix == ".tar":
            with tarfile.open(file) as tar:
                tar.extractall(place, filter="data")
    return root, footage.read_all(root, PARAMS.data)


@pytest.fixture
def scene(
    sound: tuple[Path, pd.DataFrame], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Scene:
    """A copy of it whose files are links until they are opened."""
    root, table = sound
    monkeypatch.chdir(root.parent)
    shutil.copytree(root, tmp_path / "data", copy_function=os.link)
    limits = replace(PARAMS.validate, max_frozen_frames=4)  # sequences of the demo are short
    return Scene(tmp_path / "data", table, limits)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """End with the score."""
    reports = {
        (test, state): sum(f"::{test}[" in report.nodeid for report in reports)
        for test in ("test_a_fault", "test_sound_data")
        for state in ("passed", "failed")
        for reports in [terminalreporter.stats.get(state, [])]
    }
    seen, missed = reports["test_a_fault", "passed"], reports["test_a_fault", "failed"]
    if seen + missed:
        terminalreporter.write_line(
            f"{seen} of {seen + missed} detected by their own rule, "
            f"{reports['test_sound_data', 'failed']} false alarms"
        )
