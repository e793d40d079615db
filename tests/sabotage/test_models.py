"""The catalogue on a trained model: its network or its tracking is sabotaged, then really evaluated.

`make sabotage` runs this on what the last `make run` left (RUN=DIR names another project), with the
gates of params.yaml and, for the comparison, the untouched model as the champion with margins of 0.03.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components import compare, evaluate, gate, index
from trackline import artifacts, config
from trackline.data import crops

RUN = Path(os.environ.get("RUN", ""))
SEEDS = int(os.environ.get("SEEDS", "0"))
THREADS = int(
    os.environ.get("THREADS", "1")
)  # of a training; as make compare has them, it is shared
pytestmark = pytest.mark.skipif(
    not (RUN / "artifacts/model/SHA256SUMS").is_file() or "RUN" not in os.environ,
    reason="make sabotage runs these, on the trained model of a run",
)
Network = Any


@dataclasses.dataclass
class Bench:
    """A folder in which models are evaluated and judged against the honest one."""

    root: Path
    params: config.Params
    files: evaluate.Inputs

    def measure(self, name: str) -> tuple[evaluate.Outputs, Path]:
        """Evaluate the package in `files.model` into a folder of its own."""
        out = self.root / name
        outputs = evaluate.Outputs(out / "metrics.json", out / "predictions.parquet", out / "plots")
        evaluate.evaluate(self.params, self.files, outputs)
        return outputs, out

    def judge(self, name: str) -> dict[str, Any]:
        """Evaluate and judge."""
        outputs, out = self.measure(name)
        return self.weigh(self.params, self.files.model, outputs.metrics, outputs.predictions, out)

    def weigh(
        self, params: config.Params, model: Path, metrics: Path, predictions: Path, out: Path
    ) -> dict[str, Any]:
        """Judge what was evaluated."""
        inputs = gate.Inputs(
            model, metrics, predictions, self.root / "validate.json", self.root / "drift.json",
            self.root / "champion.json", annotations=self.files.annotations,
        )  # fmt: skip
        written = gate.Outputs(out / "gate.json", out / "index.html", out / "summary.md")
        return gate.gate(params, inputs, written)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """The run's model as champion, its data, its params with tighter margins."""
    root = tmp_path_factory.mktemp("bench")
    loaded = config.load(RUN / "params.yaml")
    limits = dataclasses.replace(
        loaded.gate,
        champion_margin_ao=0.03,
        champion_margin_accuracy=0.05,
        champion_margin_shift_px=0.5,
    )
    data = (RUN / loaded.data.path).resolve()
    params = dataclasses.replace(
        loaded,
        gate=limits,
        data=dataclasses.replace(loaded.data, path=str(data)),
        evaluate=dataclasses.replace(loaded.evaluate, csrt=False),
    )
    index.index(data, root / "annotations.parquet")
    shutil.copytree(RUN / "artifacts/model", root / "model")
    artifacts.write_json(root / "validate.json", {"passed": True})
    artifacts.write_json(root / "drift.json", {"verdict": "none"})
    artifacts.write_json(
        root / "champion.json", {"name": "tracker", "version": None, "sha256": None}
    )
    made = Bench(root, params, evaluate.Inputs(root / "model", root / "annotations.parquet"))
    patch = pytest.MonkeyPatch()
    patch.setattr("components.gate.write_report", lambda *_: None)
    crown(made)
    yield made
    patch.undo()


def crown(bench: Bench) -> None:
    """Let the untouched model be champion 1."""
    bench.judge("champion")
    folder = bench.root / "registry/cache/1"
    shutil.copytree(bench.files.model, folder / "model")
    (folder / "evaluation").mkdir()
    for name in ("gate.json", "predictions.parquet"):
        shutil.copy(bench.root / "champion" / name, folder / "evaluation")
    sha256 = artifacts.verify(folder / "model")
    pin = {"name": "tracker", "version": 1, "sha256": sha256}
    artifacts.write_json(bench.root / "champion.json", pin)


def reset(module: Any, seed: int = 0) -> None:
    import torch

    torch.manual_seed(seed)
    for part in module.modules():
        if hasattr(part, "reset_parameters"):
            part.reset_parameters()


def shuffle_names(network: Network) -> None:
    """What shuffled labels teach: classes told apart, and named wrongly."""
    last = [m for m in network.class_head.modules() if hasattr(m, "out_features")][-1]
    last.weight.data = last.weight.data.roll(3, 0)
    last.bias.data = last.bias.data.roll(3, 0)


def blur_colours(network: Network) -> None:
    """Weights that lost half of their digits: every tensor of the backbone with 30 % of noise."""
    import torch

    torch.manual_seed(1)
    for weight in network.backbone.parameters():
        weight.data += 0.3 * weight.data.std() * torch.randn_like(weight)


NETWORKS: dict[str, tuple[Callable[[Network], None], str]] = {
    "untrained": (reset, "ao"),
    "box head frozen at random": (lambda n: reset(n.box_head), "ao"),
    "class weight 0": (lambda n: reset(n.class_head), "sequence_accuracy"),
    "shuffled labels": (shuffle_names, "sequence_accuracy"),
    "noise on the backbone": (blur_colours, "champion_ao"),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_saboteur_of_the_network_is_caught(bench: Bench, name: str) -> None:
    from trackline.models import package

    act, meant = NETWORKS[name]
    model = package.load(bench.files.model)
    act(model.network)
    folder = bench.root / "sabotaged"
    package.save(folder, model, "sabotaged")
    files = evaluate.Inputs(folder, bench.files.annotations)
    expect_refusal(dataclasses.replace(bench, files=files).judge(name), meant)


def swap_sides(patch: pytest.MonkeyPatch) -> None:
    honest = crops.to_image
    patch.setattr(
        "trackline.tracking.tracker.to_image", lambda box, place: honest(box[[0, 1, 3, 2]], place)
    )


def shift_origin(patch: pytest.MonkeyPatch) -> None:
    """Boxes written as if the first pixel were (1, 1)."""
    from trackline.tracking import batch

    honest = batch._tabulate

    def shifted(*given: Any) -> Any:
        rows = honest(*given)
        return rows.assign(x=rows["x"] + 1, y=rows["y"] + 1)

    patch.setattr(batch, "_tabulate", shifted)


def ignore_template(patch: pytest.MonkeyPatch) -> None:
    from trackline.tracking.tracker import Tracker

    honest = Tracker.start

    def blind(self: Tracker, stream: int, image: Any, box: Any, look: Any = None) -> None:
        honest(self, stream, image, box, (np.full_like(image, 127), box))

    patch.setattr(Tracker, "start", blind)


def swap_channels(patch: pytest.MonkeyPatch) -> None:
    honest = crops.cut
    patch.setattr(
        "trackline.tracking.tracker.cut",
        lambda *given: np.ascontiguousarray(honest(*given)[..., [2, 0, 1]]),
    )


def forget_normalising(patch: pytest.MonkeyPatch) -> None:
    """Pixels from 0 to 1, where training subtracted the mean and divided by the deviation."""
    patch.setattr("trackline.tracking.tracker.normalise", lambda images: images)


def zoom(patch: pytest.MonkeyPatch) -> None:
    """Search regions twice as wide as in training."""
    honest = crops.place_window
    patch.setattr(
        "trackline.tracking.tracker.place_window", lambda box, factor: honest(box, 2 * factor)
    )


TRACKING: dict[str, tuple[Callable[[pytest.MonkeyPatch], None], str]] = {
    "width and height swapped": (swap_sides, "champion_ao"),
    "pixel origin off by one": (shift_origin, "champion_shift"),
    "template ignored": (ignore_template, "template_gain"),
    "colour channels swapped": (swap_channels, "champion_ao"),
    "pixels not normalised": (forget_normalising, "champion_ao"),
    "regions cut at another scale": (zoom, "ao"),
}


@pytest.mark.parametrize("name", TRACKING)
def test_the_saboteur_of_the_tracking_is_caught(
    bench: Bench, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    act, meant = TRACKING[name]
    if act is swap_channels and bench.params.train.augment.recolour > 0:
        pytest.skip("this training swaps channels itself (train.augment.recolour): no harm to see")
    act(monkeypatch)
    expect_refusal(bench.judge(name), meant)


def test_honest_model_evaluated_again_passes(bench: Bench) -> None:
    judged = bench.judge("again")
    assert [check["why"] for check in judged["checks"] if not check["passed"]] == []


@pytest.mark.parametrize("seed", range(1, SEEDS + 1))
def test_honest_training_with_another_seed_passes(
    bench: Bench,
    seed: int,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    """Minutes each, and kept where `make compare` keeps its own: killed, it goes on; done, it is reused.

    Judged as params.yaml says, margins included.
    """
    loaded = config.load(RUN / "params.yaml")
    monkeypatch.chdir(RUN)
    monkeypatch.setenv("PYTHONSAFEPATH", "1")  # this code, not the copy in RUN
    annotations, kept = Path("artifacts/annotations.parquet"), Path("artifacts/compare")
    run = compare.plan(loaded, loaded.model.variant, seed, annotations, kept, THREADS)
    run.finish(f"[{seed}/{SEEDS}]")
    judged = bench.weigh(
        loaded, run.folder / "model", run.folder / "evaluate.json",
        run.folder / "predictions.parquet", bench.root / f"seed-{seed}",
    )  # fmt: skip
    reached = artifacts.read_json(run.folder / "evaluate.json")
    record_property("ao", reached["ao"])
    record_property("accuracy", reached["accuracy"])
    assert [check["why"] for check in judged["checks"] if not check["passed"]] == []


def expect_refusal(judged: dict[str, Any], meant: str) -> None:
    failed = {check["name"]: check["why"] for check in judged["checks"] if not check["passed"]}
    assert judged["verdict"] == "rejected"
    assert meant in failed, failed
