"""A first look at footage that is not ours yet: what it is, what is wrong with it, and a picture."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from trackline import artifacts, config
from trackline.data import footage
from trackline.data.facts import Facts
from trackline.data.footage import Found
from trackline.data.frames import Frames, Image, encode
from trackline.data.images import check
from trackline.data.rules import RULES
from trackline.data.table import Sequence, iterate
from trackline.data.tiles import PAPER, draw_tile
from trackline.data.tree import SPLITS
from trackline.errors import DataError

NO_CLASS = "classes are known"  # here only where there is none, for data.classes is left aside
MOMENTS = (0.0, 0.33, 0.67, 1.0)  # of each sequence on the sheet
TILE_WH, LINE = (240, 180), 22
INK = (30, 30, 30)


@dataclass(frozen=True)
class Problem:
    """One broken rule: how often, and the first places."""

    rule: str
    severity: str
    count: int
    share: float  # of all frames, or of all sequences
    unit: str
    examples: tuple[str, ...]
    remedy: str


@dataclass(frozen=True)
class Inspection:
    """What was found below a folder."""

    found: list[Found]
    table: pd.DataFrame
    problems: list[Problem]
    left_over: dict[str, int]  # images that no sequence has, by folder


def inspect(path: Path, settings: config.Data, limits: config.Validate) -> Inspection:
    """Read everything below `path` and hold it to every rule but those on splits."""
    found = footage.find(path, settings)
    table = footage.join(rows for one in found for rows in footage.read(one, settings.class_map))
    checks = check(path, table, limits.image_sample, limits.max_image_mpx)
    facts = Facts(table, checks, limits, settings.classes)
    problems = []
    for rule in RULES:
        if rule.unit == "split":
            continue
        values = rule.find(facts)
        if len(values):
            places = facts.units[rule.unit].loc[values.index[:3]]
            told = zip(places["sequence"], places["frame"], values, strict=False)
            severity = limits.severity.get(rule.name, rule.severity)
            if severity == "ignore":
                continue
            examples = tuple(f"{name}/{frame}: {value}" for name, frame, value in told)
            share = len(values) / len(facts.units[rule.unit])
            remedy = _suggest_map(examples) if rule.name == NO_CLASS else rule.remedy
            problems.append(
                Problem(rule.name, severity, len(values), share, rule.unit, examples, remedy)
            )
    trees = {one.dataset: one.tree for one in found}
    left = {
        f"{name}/{folder}".strip("/"): count
        for name, tree in trees.items()
        for folder, count in footage.find_left_over(
            tree, [one.clip for one in found if one.dataset == name]
        ).items()
    }
    return Inspection(found, table, problems, left)


def _suggest_map(examples: tuple[str, ...]) -> str:
    """Show how to name classes, with a sequence of theirs."""
    name = examples[0].rpartition("/")[0]
    return (
        f'say in params.yaml what they show: data: {{class_map: {{"{name}": person}}}}, "*" for all'
    )


def draw_sheet(table: pd.DataFrame, root: Path, most: int = 24) -> Image:
    """Picture some sequences, four moments of each with the box drawn; uint8 [height, width, 3], RGB."""
    names = table["sequence"].unique()
    spread = np.linspace(0, len(names) - 1, min(most, len(names))).round().astype(int)
    chosen = table[table["sequence"].isin(names[spread])]
    frames = Frames(root, cache_mb=64)
    rows = [_draw_row(one, frames) for split in SPLITS for one in iterate(chosen, split)]
    return np.vstack(rows)


def write_sheet(path: Path, sheet: Image, told: str) -> None:
    """Write a picture as PNG or JPEG, or a page with what is told of it, by the suffix; atomically."""
    if path.suffix == ".html":
        artifacts.write_text(path, render(sheet, told))
        return
    with artifacts.replacing(path) as temporary:
        if not cv2.imwrite(str(temporary), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR)):
            raise DataError(f"{path} cannot be written as a picture; name it .png or .jpg")


def render(sheet: Image, told: str) -> str:
    """Draw the page: one HTML file that needs nothing else."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(Path(__file__).parents[1])
    pages = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    picture = base64.b64encode(encode(sheet, cv2.IMWRITE_JPEG_QUALITY, 85)).decode()
    return pages.get_template("inspection.html.j2").render(told=told, jpeg=picture)


def _draw_row(sequence: Sequence, frames: Frames) -> Image:
    tiles = [draw_tile(sequence, frames, moment, TILE_WH) for moment in MOMENTS]
    title = np.full((LINE, TILE_WH[0] * len(MOMENTS), 3), PAPER, np.uint8)
    text = f"{sequence.dataset}  {sequence.name}  {sequence.split}  {sequence.label or 'no class'}"
    told = f"{text}  {len(sequence)} frames"
    cv2.putText(title, told, (6, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.45, INK, 1, cv2.LINE_AA)
    return np.vstack([title, np.hstack(tiles)])
