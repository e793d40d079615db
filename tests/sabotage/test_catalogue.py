"""The catalogue: runs that must not be promoted, and which check it is that must see it.

Every sabotage changes one thing about a project that the gate accepts. What a model does wrong shows
in its predictions; what a person does wrong, in the files of the run, before the gate or after it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from components import index, register, validate
from tests.sabotage.conftest import Scene
from trackline import artifacts, config
from trackline.data.table import BOX
from trackline.errors import ValidationError
from trackline.evaluation import verdict
from trackline.evaluation.statistics import NOT_INFERIOR

Act = Callable[[Scene], None]
SEEDS = range(10, 20)


def share(scene: Scene, values: np.ndarray[Any, Any]) -> pd.DataFrame:
    return scene.name_classes(scene.predict(1), values)


def read_shares(scene: Scene) -> np.ndarray[Any, Any]:
    return scene.predict(1)[[f"p_{name}" for name in scene.classes]].to_numpy()


def swap_sides(scene: Scene) -> None:
    guess = scene.predict(1)
    scene.evaluate(guess.assign(w=guess["h"], h=guess["w"]))


def shift_origin(scene: Scene) -> None:
    guess = scene.predict(1)
    scene.evaluate(guess.assign(x=guess["x"] + 1, y=guess["y"] + 1))


def lag_behind(scene: Scene) -> None:
    guess = scene.predict(1)
    late = guess.groupby("sequence")[BOX].shift()
    scene.evaluate(guess.assign(**{n: late[n].fillna(guess[n]) for n in BOX}))


def stand_still(scene: Scene) -> None:
    guess = scene.predict(1)
    first = guess.groupby("sequence")[BOX].transform("first")
    scene.evaluate(guess.assign(**first), ao_static=0.23)


def guess_boxes(scene: Scene) -> None:
    guess, random = scene.predict(1), np.random.default_rng(2)
    scene.evaluate(guess.assign(x=random.uniform(0, 100, len(guess)), y=60.0, w=30.0, h=30.0))


def freeze_box_head(scene: Scene) -> None:
    guess, random = scene.predict(1), np.random.default_rng(3)
    moved = guess[["x", "y"]] + random.normal(0, 18, (len(guess), 2))
    scene.evaluate(guess.assign(x=moved["x"], y=moved["y"], w=25.0, h=25.0))


def ignore_template(scene: Scene) -> None:
    scene.evaluate(scene.predict(1), ao_wrong_template=0.7)


def shuffle_labels(scene: Scene) -> None:
    shares = read_shares(scene)
    scene.evaluate(share(scene, np.roll(shares, 3, axis=1)))


def drop_class_loss(scene: Scene) -> None:
    random = np.random.default_rng(4)
    scene.evaluate(
        share(scene, random.dirichlet(np.full(len(scene.classes), 50), len(scene.truth)))
    )


def name_one_class(scene: Scene) -> None:
    shares = np.full((len(scene.truth), len(scene.classes)), 0.01)
    shares[:, 0] = 0.91
    scene.evaluate(share(scene, shares))


def exaggerate(scene: Scene) -> None:
    """Sure of everything: right as often as before, but one frame in four."""
    random, shares = np.random.default_rng(5), read_shares(scene)
    wrong = random.random(len(shares)) < 0.25
    shares[wrong] = np.roll(shares[wrong], 1, axis=1)
    sure = np.where(shares == shares.max(axis=1, keepdims=True), 0.999, 0.0001)
    scene.evaluate(share(scene, sure))


def lose_some(rows: Callable[[pd.DataFrame], pd.Series[Any]]) -> Act:
    def act(scene: Scene) -> None:
        guess, lost = scene.predict(1), rows(scene.truth).to_numpy()
        scene.evaluate(guess.assign(w=np.where(lost, guess["w"] * 0.6, guess["w"])))

    return act


def find_fish(truth: pd.DataFrame) -> pd.Series[Any]:
    return truth["class"] == "fish"


def find_occluded(truth: pd.DataFrame) -> pd.Series[Any]:
    worst = truth.groupby("sequence")["cover"].transform("min")
    return worst >= 1


def break_one_sequence(scene: Scene) -> None:
    guess = scene.predict(1)
    scene.evaluate(guess.assign(x=guess["x"].where(guess["sequence"] != guess["sequence"].iloc[0])))


def drop_hard_sequences(scene: Scene) -> None:
    found = pd.read_parquet("artifacts/predictions.parquet")
    hard = found.groupby("sequence")["iou"].mean().nsmallest(20).index
    rows = pd.read_parquet("artifacts/annotations.parquet")
    left = rows[~rows["sequence"].isin(hard)]
    artifacts.write_table(Path("artifacts/annotations.parquet"), left)
    scene.truth = left[left["split"] == "test"]
    scene.evaluate(found[~found["sequence"].isin(hard)])


def take_foreign_champion(scene: Scene) -> None:
    """The champion was judged on another test set."""
    path = Path("registry/cache/3/evaluation/gate.json")
    judged = artifacts.read_json(path)
    judged["bound"]["evaluation_data_sha256"] = "d0"
    artifacts.write_json(path, judged)


def swap_boxes_of_class(scene: Scene) -> None:
    """Predictions of another run under the metrics of this one."""
    other = Scene(scene.root, scene.truth, scene.classes)
    kept = Path("metrics/evaluate.json").read_bytes()
    other.evaluate(scene.predict(2).assign(w=5.0))
    Path("metrics/evaluate.json").write_bytes(kept)


WRONG_MODELS: dict[str, tuple[Act, str]] = {  # the act, and the check that must fail
    "width and height swapped": (swap_sides, "champion_ao"),
    "pixel origin off by one": (shift_origin, "champion_shift"),
    "boxes one frame late": (lag_behind, "champion_ao"),
    "first box repeated": (stand_still, "gain_over_static"),
    "untrained": (guess_boxes, "ao"),
    "box head frozen at random": (freeze_box_head, "ao"),
    "template ignored": (ignore_template, "template_gain"),
    "shuffled labels": (shuffle_labels, "sequence_accuracy"),
    "class weight 0": (drop_class_loss, "sequence_accuracy"),
    "one class for everything": (name_one_class, "sequence_accuracy"),
    "sure of everything": (exaggerate, "ece"),
    "fish lost": (lose_some(find_fish), "slices_champion"),
    "a kind of occlusion lost": (lose_some(find_occluded), "slices_champion"),
    "NaN in one sequence": (break_one_sequence, "predictions_whole"),
    "too slow": (lambda s: s.evaluate(s.predict(1), latency_ms=80.0), "latency_ms"),
    "too large": (lambda s: s.evaluate(s.predict(1), size_mb=480.0), "size_mb"),
    "no latency measured": (lambda s: s.evaluate(s.predict(1), latency_ms=None), "latency_ms"),
    "AO is NaN": (lambda s: s.evaluate(s.predict(1), ao=float("nan")), "ao"),
    "a baseline is missing": (lambda s: s.evaluate(s.predict(1), ao_static=None), "gain_over_static"),
}  # fmt: skip
WRONG_FILES: dict[str, tuple[Act, str]] = {
    "predictions truncated": (lambda s: s.rewrite(lambda t: t.iloc[:-5]), "predictions_whole"),
    "a frame predicted twice": (
        lambda s: s.rewrite(lambda t: pd.concat([t, t.iloc[:1]])), "predictions_whole"
    ),
    "overlaps embellished": (
        lambda s: s.rewrite(lambda t: t.assign(iou=t["iou"] ** 0.5)), "predictions_whole"
    ),
    "AO edited by hand": (lambda s: s.edit("metrics/evaluate.json", ao=0.99), "metrics_origin"),
    "template control edited by hand": (
        lambda s: s.edit("metrics/evaluate.json", ao_wrong_template=0.01), "metrics_origin"
    ),
    "template control that its predictions contradict": (
        lambda s: s.rewrite(lambda t: t.assign(iou_wrong_template=0.9 * t["iou"])), "metrics_origin"
    ),
    "predictions of another run": (swap_boxes_of_class, "metrics_origin"),
    "metrics of other weights": (lambda s: s.pack("others"), "metrics_origin"),
    "hard sequences dropped": (drop_hard_sequences, "champion_ao"),
    "champion of another test set": (take_foreign_champion, "champion_ao"),
    "validation failed": (lambda s: s.edit("metrics/validate.json", passed=False), "data_validated"),
    "validation left out": (
        lambda _: Path("metrics/validate.json").unlink(), "data_validated"
    ),
    "data in quarantine": (
        lambda s: s.edit("metrics/validate.json", rules=[{"unit": "frame", "count": 200}]),
        "quarantined",
    ),
    "data drifted": (lambda s: s.edit("metrics/drift.json", verdict="drift"), "drift"),
}  # fmt: skip


@pytest.mark.parametrize("name", [*WRONG_MODELS, *WRONG_FILES])
def test_the_saboteur_is_caught_by_the_gate(scene: Scene, name: str) -> None:
    act, meant = (WRONG_MODELS | WRONG_FILES)[name]
    act(scene)
    judged = scene.judge()
    assert judged["verdict"] == "rejected"
    assert meant in {check["name"] for check in judged["checks"] if not check["passed"]}
    assert register.main([]) == 2


@pytest.mark.parametrize("seed", SEEDS)
def test_honest_trainings_of_other_seeds_pass(scene: Scene, seed: int) -> None:
    scene.evaluate(scene.predict(seed))
    judged = scene.judge()
    assert [check["why"] for check in judged["checks"] if not check["passed"]] == []
    assert judged["comparison"] in NOT_INFERIOR


def loosen(scene: Scene) -> None:
    scene.limit(min_ao=0.1)


def swap_weights(_: Scene) -> None:
    Path("artifacts/model/model.safetensors").write_text("other weights")


def forge_verdict(scene: Scene) -> None:
    guess_boxes(scene)
    scene.judge()
    checks = artifacts.read_json(Path("metrics/gate.json"))["checks"]
    passed = [check | {"passed": True} for check in checks]
    scene.edit("metrics/gate.json", passed=True, verdict="accepted", checks=passed)


AFTER: dict[str, tuple[Act, int, str]] = {  # the act after the verdict, the exit code, the words
    "thresholds loosened": (loosen, 2, "the thresholds in params.yaml"),
    "champion changed": (lambda s: s.pin(4, "f" * 64), 2, "changed: the champion"),
    "champion unpinned": (lambda s: s.pin(None, None), 2, "changed: the champion"),
    "weights swapped": (swap_weights, 21, "was altered: model.safetensors"),
    "whole package swapped": (lambda s: s.pack("others"), 2, "the model package, the weights"),
    "a file slipped into the package": (
        lambda _: Path("artifacts/model/extra.pkl").touch(), 21, "extra.pkl"
    ),
    "predictions swapped": (lambda s: s.evaluate(s.predict(2)), 2, "the predictions"),
    "metrics edited": (lambda s: s.edit("metrics/evaluate.json", ao=0.9), 2, "the metrics"),
    "test data exchanged": (
        lambda s: s.evaluate(s.predict(1), evaluation_data_sha256="d2"), 2, "the test data"
    ),
    "verdict edited by hand": (forge_verdict, 2, "was edited after the gate"),
    "verdict deleted": (lambda _: Path("metrics/gate.json").unlink(), 10, "does not exist"),
}  # fmt: skip


@pytest.mark.parametrize("name", AFTER)
def test_the_saboteur_is_caught_when_registering(
    scene: Scene, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    act, code, words = AFTER[name]
    assert scene.judge()["passed"]
    act(scene)
    assert register.main([]) == code
    assert words in capsys.readouterr().err


def test_the_saboteur_who_changes_the_evaluation_s_code_is_caught(
    scene: Scene, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert scene.judge()["passed"]
    monkeypatch.setattr(verdict, "hash_code", lambda: "other code")
    assert register.main([]) == 2
    assert "the code of trackline.evaluation" in capsys.readouterr().err


def test_the_saboteur_s_misspelt_threshold_is_no_absent_threshold(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    scene.limit(min_sequence_acuracy=0.1)
    assert register.main([]) == 3
    assert "did you mean 'min_sequence_accuracy'?" in capsys.readouterr().err


def test_the_saboteur_s_test_sequences_among_the_training_data_are_found(
    world: Path, tmp_path: Path
) -> None:
    """Leaked evaluation data: real files, the real index and the real validation."""
    leaky = tmp_path / "data"
    shutil.copytree(world, leaky)
    shard = next((leaky / "test").glob("*.tar"))
    shutil.copy(shard, leaky / "train" / "more.tar")
    table, out = tmp_path / "annotations.parquet", tmp_path / "validate.json"
    index.index(leaky, table)
    params = config.load(Path(__file__).parents[2] / "params.yaml")
    files = (out, tmp_path / "v.html", tmp_path / "q.parquet")
    with pytest.raises(ValidationError, match="no image is in two splits"):
        validate.validate(table, leaky, params.validate, params.data.classes, *files)
    assert artifacts.read_json(out)["passed"] is False


def test_the_catalogue_is_long_enough() -> None:
    assert len(WRONG_MODELS) + len(WRONG_FILES) + len(AFTER) + 3 >= 25
