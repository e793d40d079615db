"""Compare: train every variant of the network under one budget, and print one table.

Trains each variant with each seed (a process of its own, one after another), evaluates it on the
held-out sequences, and prints and saves what each costs (parameters, speed, memory, code) and reaches
(AO, class accuracy), with intervals over seeds and sequences, and which differences the test can tell
and which it cannot. Needs artifacts/annotations.parquet (python -m components.index). Writes
compare.json and compare.md into the output folder, anew with each seed that all variants have
finished, and a folder for each run. Started again, it goes on where it was, also within a run, and
keeps what is finished; what other parameters, data, network or training code made is done again.

exit codes: 0 compared, 3 params.yaml, 11 no sequences, 64 arguments, 75 told to stop (start it again),
1 a run failed
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trackline import artifacts, config, records
from trackline.commandline import Parser, exit_code
from trackline.errors import EmptyDataError, Interrupted, TracklineError, UsageError

if TYPE_CHECKING:
    from trackline.evaluation.variants import Contender, Cost

ROOT = Path(__file__).parents[1] / "trackline"
VARIANTS = ("multitask", "fusion", "tracking")


@dataclass(frozen=True)
class Step:
    """A step of a run: what decides its result, and what it writes."""

    sections: tuple[str, ...]
    code: tuple[str, ...]
    outputs: dict[str, str]


STEPS = {
    "train": Step(
        ("data", "model", "train", "track"),  # how it tracks is in the package
        ("boxes.py", "data/clips.py", "data/crops.py", "data/frames.py", "data/sampling.py",
         "models/backbone.py", "models/heads.py", "models/history.py", "models/network.py",
         "training/loop.py", "training/losses.py", "training/optimiser.py"),
        {"model": "model", "metrics": "train.json", "curves": "train.csv",
         "checkpoint": "checkpoint.safetensors"},
    ),
    "evaluate": Step(
        ("evaluate",),
        ("evaluation/metrics.py", "tracking/batch.py", "tracking/tracker.py"),
        {"model": "model", "metrics": "evaluate.json", "predictions": "predictions.parquet",
         "plots": "plots"},
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Run:
    """One training and its evaluation: their parameters and their folder, which names them."""

    params: config.Params
    annotations: Path
    folder: Path
    threads: int = 1

    @property
    def variant(self) -> str:
        """What network it trains."""
        return self.params.model.variant

    @property
    def seed(self) -> int:
        """What it was started with."""
        return self.params.train.seed

    def identify(self, step: str) -> str:
        """The digest of all that decides a step's result."""
        chosen = {k: records.plain(getattr(self.params, k)) for k in STEPS[step].sections}
        code = {name: artifacts.sha256(ROOT / name) for name in STEPS[step].code}
        before = {
            "train": [artifacts.sha256(self.annotations), self.threads],
            "evaluate": [self.identify("train")] if step == "evaluate" else [],
        }
        return artifacts.digest({**chosen, "code": code, "before": before[step]})

    def has_done(self, step: str) -> bool:
        """Whether a step was finished as it would be done today."""
        stamp = self.folder / f"{step}.done"
        return stamp.is_file() and stamp.read_text(encoding="utf-8") == self.identify(step)

    def finish(self, place: str) -> None:
        """Train and evaluate, or keep what is there; `place` tells how far the whole is."""
        import yaml

        params = self.folder / "params.yaml"
        artifacts.write_text(params, yaml.safe_dump(records.plain(self.params), sort_keys=False))
        environment = {**os.environ, "OMP_NUM_THREADS": str(self.threads)}
        for name, step in STEPS.items():
            kept = self.has_done(name)
            print(f"{place} {self.folder.name}: {name}{', kept' if kept else ''}", flush=True)
            if kept:
                continue
            paths = [x for o, n in step.outputs.items() for x in (f"--{o}", str(self.folder / n))]
            command = ("--params", str(params), "--annotations", str(self.annotations), *paths)
            run_step((sys.executable, "-m", f"components.{name}", *command), environment)
            artifacts.write_text(self.folder / f"{name}.done", self.identify(name))


def compare(
    params: config.Params,
    variants: Sequence[str],
    seeds: Sequence[int],
    annotations: Path,
    out: Path,
    threads: int = 1,
) -> dict[str, Any]:
    """Finish every run, compare after each seed, write and return the record."""
    check_choice(variants, seeds, annotations)
    runs = [plan(params, v, s, annotations, out, threads) for s in seeds for v in variants]
    paces = time_variants(runs[: len(variants)])
    record: dict[str, Any] = {}
    for number, run in enumerate(runs, 1):
        run.finish(f"[{number}/{len(runs)}]")
        if number % len(variants) == 0:
            record = summarise(params, runs[:number], paces)
            write_results(out, record)
    return record


def summarise(
    params: config.Params, runs: Sequence[Run], paces: dict[str, float]
) -> dict[str, Any]:
    """The comparison of finished runs."""
    from trackline.evaluation import variants as table

    contenders = [gather([r for r in runs if r.variant == v], pace) for v, pace in paces.items()]
    budget = describe_budget(params, runs, contenders[0])
    return table.compose(contenders, budget, params.evaluate.bootstrap)


def write_results(out: Path, record: dict[str, Any]) -> None:
    """Write compare.json and compare.md."""
    from trackline.evaluation.variants import write_markdown

    artifacts.write_json(out / "compare.json", record)
    artifacts.write_text(out / "compare.md", write_markdown(record))


def check_choice(variants: Sequence[str], seeds: Sequence[int], annotations: Path) -> None:
    """Refuse at once what would fail after hours."""
    if len(set(seeds)) < len(seeds) or len(set(variants)) < len(variants):
        raise UsageError("a variant or a seed is named twice; name each once")
    if not annotations.is_file():
        raise EmptyDataError(f"{annotations} does not exist; run python -m components.index first")


def plan(
    params: config.Params, variant: str, seed: int, annotations: Path, out: Path, threads: int = 1
) -> Run:
    """The run of a variant with a seed; baselines and other toolkits' scores are left out.

    Fusion tells the class before there is a box: where the others pool below it, fusion pools survivors.
    """
    model = {**records.plain(params.model), "variant": variant}
    if variant == "fusion" and params.model.class_head.pool == "box":
        model["class_head"] = {**model["class_head"], "pool": "survivors"}
    changed = dataclasses.replace(
        params,
        model=records.parse(config.Model, model),
        train=dataclasses.replace(params.train, seed=seed),
        evaluate=dataclasses.replace(params.evaluate, csrt=False, protocols=()),
    )
    return Run(changed, annotations, out / f"{variant}-{seed}", threads)


def run_step(command: Sequence[str], environment: dict[str, str]) -> None:
    """Run one step of the pipeline to its end; told to stop, tell it and leave when it has saved."""
    from trackline.training.interruption import heed_signals

    with heed_signals() as request:
        process = subprocess.Popen(command, env=environment)
        told = False
        while True:
            try:
                code = process.wait(timeout=0.2)
                break
            except subprocess.TimeoutExpired:
                if request.made and not told:
                    process.terminate()
                    told = True
    if request.made or code == Interrupted.exit_code:
        raise Interrupted("told to stop; start again to go on from there")
    if code:
        raise TracklineError(f"{command[2]} ended with exit code {code}; its message is above")


def time_variants(runs: Sequence[Run]) -> dict[str, float]:
    """Training samples a second of each variant, in turns: the hours before tell what else ran then."""
    import torch

    from components.train import make_trainer
    from trackline.training.pace import measure_pace

    torch.set_num_threads(runs[0].threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    made = [make_trainer(run.params, run.annotations, device) for run in runs]
    train, (_, loader) = runs[0].params.train, made[0]
    (batch,) = loader(train.epochs - 1, train.batch)
    paces = measure_pace([trainer for trainer, _ in made], batch)
    return {run.variant: pace for run, pace in zip(runs, paces, strict=True)}


def gather(runs: Sequence[Run], pace: float) -> Contender:
    """What one variant's finished runs cost and reached."""
    import pandas as pd

    from trackline.evaluation.variants import Contender, tabulate_seeds

    predictions = [pd.read_parquet(r.folder / "predictions.parquet") for r in runs]
    values, frames = tabulate_seeds(predictions)
    return Contender(runs[0].variant, measure_cost(runs, pace), values, frames)


def measure_cost(runs: Sequence[Run], pace: float) -> Cost:
    """The highest memory of a variant's runs, its size and its code, beside its pace."""
    from trackline.evaluation.variants import Cost
    from trackline.models.network import Network
    from trackline.training.ownership import count_owned_lines

    model, classes = runs[0].params.model, len(runs[0].params.data.classes)
    plain = dataclasses.replace(model, variant="tracking")
    sizes = [sum(p.numel() for p in Network(m, classes).parameters()) for m in (model, plain)]
    trained = [artifacts.read_json(r.folder / "train.json") for r in runs]
    extra = sizes[0] - sizes[1]
    return Cost(
        extra_parameters=extra,
        extra_mb=extra * 4 / 1e6,
        samples_per_second=pace,
        peak_memory_mb=max(t["peak_memory_mb"] for t in trained),
        code_lines=count_owned_lines(model),
    )


def describe_budget(
    params: config.Params, runs: Sequence[Run], contender: Contender
) -> dict[str, Any]:
    """What every variant was given."""
    lineage = artifacts.read_json(runs[0].folder / "model" / "lineage.json")
    return {
        "epochs": params.train.epochs,
        "samples_per_epoch": params.train.samples_per_epoch,
        "seeds": list(dict.fromkeys(r.seed for r in runs)),
        "sequences": len(contender.frames),
        "pools": {
            r.variant: r.params.model.class_head.pool for r in runs if r.variant != "tracking"
        },
        "hardware": lineage["hardware"],
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `trackline compare`."""
    parser.description = __doc__
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument(
        "--variants", nargs="+", choices=VARIANTS, default=VARIANTS, help="which to compare"
    )
    parser.add_argument(
        "--seeds", nargs="+", type=int, default=(0, 1, 2), metavar="N", help="a training for each"
    )
    parser.add_argument(
        "--threads",
        type=int,
        default=1,
        metavar="N",
        help="of each run; 1 is the steadiest to time",
    )
    parser.add_argument("--epochs", type=int, help="instead of train.epochs, for a quicker look")
    parser.add_argument("--annotations", type=Path, default=Path("artifacts/annotations.parquet"))
    parser.add_argument("--out", type=Path, default=Path("artifacts/compare"))
    parser.set_defaults(command=_compare)


def _compare(given: argparse.Namespace) -> None:
    params = config.load(given.params)
    for name in ("epochs", "threads"):
        if getattr(given, name) is not None and getattr(given, name) < 1:
            raise UsageError(f"--{name} is {getattr(given, name)}; give at least 1")
    if given.epochs is not None:
        params = dataclasses.replace(
            params, train=dataclasses.replace(params.train, epochs=given.epochs)
        )
    compare(params, given.variants, given.seeds, given.annotations, given.out, given.threads)
    print((given.out / "compare.md").read_text(encoding="utf-8"), end="")


def main(argv: list[str] | None = None) -> int:
    """Run the comparison from the command line."""
    parser = Parser(prog="python -m components.compare")
    add_arguments(parser)
    given = parser.parse_args(argv)
    return exit_code(lambda: given.command(given))


if __name__ == "__main__":
    sys.exit(main())
