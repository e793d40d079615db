"""Compare: train every variant of the network under one budget, and print one table.

Trains each variant with each seed (a process of its own, one after another), evaluates it on the
held-out sequences, and prints and saves what each costs (parameters, speed, memory, code) and reaches
(AO, class accuracy), with intervals over seeds and sequences, and which differences the test can tell.
Needs artifacts/annotations.parquet (python -m components.index). Writes compare.json and compare.md
into the output folder, with a folder for each run. Finished runs are kept: started again, it goes on
where it was, also within a run; runs of other parameters, data or code are done again.

exit codes: 0 compared, 3 params.yaml, 11 no sequences, 75 told to stop (start it again), 1 a run failed
"""

from __future__ import annotations

import argparse
import dataclasses
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

ROOT = Path(__file__).parents[1]
VARIANTS = ("multitask", "fusion", "tracking")
CODE = ("components/train.py", "components/evaluate.py", "trackline/data", "trackline/models",
        "trackline/training", "trackline/tracking", "trackline/boxes.py")  # fmt: skip


@dataclass(frozen=True)
class Run:
    """One variant with one seed: its parameters and its folder."""

    variant: str
    seed: int
    params: config.Params
    annotations: Path
    folder: Path

    @property
    def identity(self) -> str:
        """The digest of all that decides its result."""
        chosen = {
            k: records.plain(getattr(self.params, k))
            for k in ("data", "model", "train", "track", "evaluate")
        }
        files = [p for name in CODE for p in _list_sources(ROOT / name)]
        code = {p.relative_to(ROOT).as_posix(): artifacts.sha256(p) for p in files}
        return artifacts.digest(
            {**chosen, "annotations": artifacts.sha256(self.annotations), "code": code}
        )

    @property
    def is_done(self) -> bool:
        """Whether it has been finished as it would be done today."""
        done = self.folder / "done.json"
        return done.is_file() and artifacts.read_json(done) == {"identity": self.identity}

    def finish(self) -> None:
        """Train and evaluate, or keep what is there."""
        import yaml

        title = f"{self.variant}, seed {self.seed}"
        if self.is_done:
            print(f"{title}: kept", flush=True)
            return
        print(f"{title}: training", flush=True)
        params = self.folder / "params.yaml"
        artifacts.write_text(params, yaml.safe_dump(records.plain(self.params), sort_keys=False))
        for step, names in (
            ("train", ("model", "metrics", "curves", "checkpoint")),
            ("evaluate", ("model", "metrics", "predictions", "plots")),
        ):
            paths = [x for n in names for x in (f"--{n}", str(self.folder / _name(step, n)))]
            command = ("--params", str(params), "--annotations", str(self.annotations), *paths)
            run_step((sys.executable, "-m", f"components.{step}", *command), title)
        artifacts.write_json(self.folder / "done.json", {"identity": self.identity})


def compare(
    params: config.Params,
    variants: Sequence[str],
    seeds: Sequence[int],
    annotations: Path,
    out: Path,
) -> dict[str, Any]:
    """Finish every run, compare, write and return the record."""
    from trackline.evaluation import variants as table

    check_choice(params, variants, seeds, annotations)
    runs = [plan(params, v, s, annotations, out) for s in seeds for v in variants]
    for run in runs:
        run.finish()
    contenders = [gather([r for r in runs if r.variant == v]) for v in variants]
    budget = describe_budget(params, seeds, contenders[0], runs[0])
    record = table.compose(contenders, budget, params.evaluate.bootstrap)
    artifacts.write_json(out / "compare.json", record)
    artifacts.write_text(out / "compare.md", table.write_markdown(record))
    return record


def check_choice(
    params: config.Params, variants: Sequence[str], seeds: Sequence[int], annotations: Path
) -> None:
    """Refuse at once what would fail after hours."""
    if unknown := [v for v in variants if v not in VARIANTS]:
        raise UsageError(f"{unknown[0]!r} is no variant; choose from {', '.join(VARIANTS)}")
    if len(set(seeds)) < len(seeds) or len(set(variants)) < len(variants):
        raise UsageError("a variant or a seed is named twice; name each once")
    if not annotations.is_file():
        raise EmptyDataError(f"{annotations} does not exist; run python -m components.index first")


def plan(params: config.Params, variant: str, seed: int, annotations: Path, out: Path) -> Run:
    """The run of a variant with a seed; baselines and other toolkits' scores are left out."""
    changed = dataclasses.replace(
        params,
        model=records.parse(config.Model, {**records.plain(params.model), "variant": variant}),
        train=dataclasses.replace(params.train, seed=seed),
        evaluate=dataclasses.replace(params.evaluate, csrt=False, protocols=()),
    )
    return Run(variant, seed, changed, annotations, out / f"{variant}-{seed}")


def run_step(command: Sequence[str], title: str) -> None:
    """Run one step of the pipeline to its end; told to stop, tell it and leave when it has saved."""
    from trackline.training.interruption import heed_signals

    with heed_signals() as request:
        process = subprocess.Popen(command)
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
        raise Interrupted(f"told to stop during {title}; start again to go on from there")
    if code:
        raise TracklineError(f"{title} ended with exit code {code}; its message is above")


def gather(runs: Sequence[Run]) -> Contender:
    """What one variant's finished runs cost and reached."""
    import pandas as pd

    from trackline.evaluation.variants import Contender, tabulate_seeds

    predictions = [pd.read_parquet(r.folder / "predictions.parquet") for r in runs]
    values, frames = tabulate_seeds(predictions)
    return Contender(runs[0].variant, measure_cost(runs), values, frames)


def measure_cost(runs: Sequence[Run]) -> Cost:
    """The mean speed and the highest memory of a variant's runs, its size and its code."""
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
        samples_per_second=sum(t["samples_per_second"] for t in trained) / len(trained),
        peak_memory_mb=max(t["peak_memory_mb"] for t in trained),
        code_lines=count_owned_lines(model),
    )


def describe_budget(
    params: config.Params, seeds: Sequence[int], contender: Contender, run: Run
) -> dict[str, Any]:
    """What every variant was given."""
    lineage = artifacts.read_json(run.folder / "model" / "lineage.json")
    return {
        "epochs": params.train.epochs,
        "samples_per_epoch": params.train.samples_per_epoch,
        "seeds": list(seeds),
        "sequences": len(contender.frames),
        "hardware": lineage["hardware"],
    }


def _name(step: str, option: str) -> str:
    names = {"model": "model", "curves": "train.csv", "plots": "plots",
             "checkpoint": "checkpoint.safetensors", "predictions": "predictions.parquet"}  # fmt: skip
    return names.get(option, f"{step}.json")


def _list_sources(path: Path) -> list[Path]:
    return sorted(path.rglob("*.py")) if path.is_dir() else [path]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `trackline compare`."""
    parser.description = __doc__
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument(
        "--variants", default=",".join(VARIANTS), metavar="NAME,…", help="which to compare"
    )
    parser.add_argument("--seeds", default="0,1,2", metavar="N,…", help="one training for each")
    parser.add_argument("--epochs", type=int, help="instead of train.epochs, for a quicker look")
    parser.add_argument("--annotations", type=Path, default=Path("artifacts/annotations.parquet"))
    parser.add_argument("--out", type=Path, default=Path("artifacts/compare"))
    parser.set_defaults(command=_compare)


def _compare(given: argparse.Namespace) -> None:
    params = config.load(given.params)
    if given.epochs is not None:
        if given.epochs < 1:
            raise UsageError(f"--epochs is {given.epochs}; give at least 1")
        params = dataclasses.replace(
            params, train=dataclasses.replace(params.train, epochs=given.epochs)
        )
    try:
        seeds = [int(s) for s in given.seeds.split(",")]
    except ValueError:
        raise UsageError(f"--seeds is {given.seeds!r}; give whole numbers, as in 0,1,2") from None
    compare(params, given.variants.split(","), seeds, given.annotations, given.out)
    print((given.out / "compare.md").read_text(encoding="utf-8"), end="")


def main(argv: list[str] | None = None) -> int:
    """Run the comparison from the command line."""
    parser = Parser(prog="python -m components.compare")
    add_arguments(parser)
    given = parser.parse_args(argv)
    return exit_code(lambda: given.command(given))


if __name__ == "__main__":
    sys.exit(main())
