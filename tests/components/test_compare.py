"""The comparison of variants: every run once, one table, and a start that goes on where it was."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import yaml

from components.compare import VARIANTS, plan
from trackline import artifacts, config, records
from trackline.cli import main


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a miniature is compared."""

    root: Path
    annotations: Path

    def compare(self, *options: str) -> int:
        paths = ("--params", str(self.root / "params.yaml"), "--out", str(self.root / "out"))
        return main(["compare", *paths, "--annotations", str(self.annotations), *options])


@pytest.fixture(scope="module")
def place(
    tmp_path_factory: pytest.TempPathFactory, annotations: Path, miniature: config.Params
) -> Place:
    root = tmp_path_factory.mktemp("compare")
    train = dataclasses.replace(miniature.train, search_frames=1)
    params = dataclasses.replace(miniature, train=train)
    (root / "params.yaml").write_text(yaml.safe_dump(records.plain(params)))
    return Place(root, annotations)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--variants", "fusion", "merged"), "invalid choice: 'merged'"),
        (("--seeds", "0", "x"), "invalid int value: 'x'"),
        (("--seeds", "1", "1"), "named twice"),
        (("--threads", "0"), "--threads is 0"),
        (("--epochs", "0"), "--epochs is 0"),
    ],
)
def test_what_cannot_be_compared_is_refused_at_once(
    place: Place, options: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code: object = place.compare(*options)
    except SystemExit as left:  # argparse's way
        code = left.code
    assert code == 64
    assert message in capsys.readouterr().err


def test_a_table_that_is_not_there_is_named(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = Place(place.root, tmp_path / "none.parquet")
    assert elsewhere.compare() == 11
    assert "run python -m components.index first" in capsys.readouterr().err


def test_variants_are_trained_evaluated_tabulated_and_kept(
    place: Place, capfd: pytest.CaptureFixture[str]
) -> None:
    options = ("--variants", "multitask", "tracking", "--seeds", "0", "--epochs", "1")
    assert place.compare(*options) == 0
    said = capfd.readouterr().out
    assert "[2/2] tracking-0: train\n" in said
    record = artifacts.read_json(place.root / "out/compare.json")
    multitask, tracking = record["variants"]
    assert (multitask["variant"], tracking["variant"]) == ("multitask", "tracking")
    assert multitask["extra_parameters"] == (32 + 1) * 16 + (16 + 1) * 10  # the class head's
    assert tracking["extra_parameters"] == tracking["code_lines"] == 0
    assert multitask["code_lines"] > 10
    assert 0 < multitask["ao"]["low"] <= multitask["ao"]["value"] <= multitask["ao"]["high"] < 1
    assert tracking["right"]["value"] is None
    assert record["budget"]["epochs"] == 1
    table = (place.root / "out/compare.md").read_text()
    assert said.endswith(table)

    weights = place.root / "out/multitask-0/model/model.safetensors"
    written = weights.stat().st_mtime_ns
    (place.root / "out/multitask-0/evaluate.done").unlink()  # as if killed while evaluating
    assert place.compare(*options) == 0
    said = capfd.readouterr().out
    assert "[1/2] multitask-0: train, kept\n" in said
    assert "[1/2] multitask-0: evaluate\n" in said
    assert "[2/2] tracking-0: evaluate, kept\n" in said
    assert weights.stat().st_mtime_ns == written


def test_a_run_of_other_parameters_is_not_the_same(
    miniature: config.Params, annotations: Path, tmp_path: Path
) -> None:
    def identify(params: config.Params, step: str, seed: int = 0) -> str:
        return plan(params, "fusion", seed, annotations, tmp_path).identify(step)

    longer = dataclasses.replace(miniature, train=dataclasses.replace(miniature.train, epochs=3))
    gated = dataclasses.replace(miniature, gate=config.Gate(min_ao=0.1))
    smoother = dataclasses.replace(miniature, track=config.Track(window=0.5))
    resampled = dataclasses.replace(miniature, evaluate=config.Evaluate(bootstrap=100, csrt=False))
    for step in ("train", "evaluate"):
        settings = (miniature, longer, smoother)
        runs = {*(identify(p, step) for p in settings), identify(miniature, step, 1)}
        assert len(runs) == 4
        assert identify(gated, step) == identify(miniature, step)
    assert identify(resampled, "train") == identify(miniature, "train")
    assert identify(resampled, "evaluate") != identify(miniature, "evaluate")


def test_every_variant_of_the_project_s_own_parameters_can_be_run(
    annotations: Path, tmp_path: Path
) -> None:
    params = config.load(Path(__file__).parents[2] / "params.yaml")
    assert params.model.class_head.pool == "box"
    pools = {
        v: plan(params, v, 0, annotations, tmp_path).params.model.class_head.pool for v in VARIANTS
    }
    assert pools == {"multitask": "box", "fusion": "survivors", "tracking": "box"}
