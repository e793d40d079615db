"""Train: learn the multi-task tracker from the annotated training sequences.

Reads the annotation table, the images below the data folder and the profile of the data; writes the
model package artifacts/model/, metrics/train.json and plots/train.csv with a row an epoch. The profile in
the package also tells how the trained network sees crops of its data.

Killed at any moment and started again with the same parameters and data, it goes on from the last
checkpoint (written after each epoch and every train.checkpoint_minutes) and ends with the weights of
an uninterrupted run, to the bit on a CPU. SIGTERM and Ctrl-C end the step at hand, save and leave.
Several devices: torchrun --nproc-per-node 2 -m components.train (docs/training.md).

exit codes: 0 trained, 3 params.yaml, 10 unreadable table or profile, 11 no training sequence, 12 missing
or 13 corrupt image, 22 processes that see different checkpoints, 75 told to stop and saved, 76 another
process died
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from trackline import artifacts, config, records
from trackline.commandline import Parser, exit_code
from trackline.errors import EmptyDataError, Interrupted

if TYPE_CHECKING:
    import torch

    from trackline.data.clips import ClipLoader
    from trackline.data.profile import Profile
    from trackline.models.network import Network
    from trackline.training.distributed import Group
    from trackline.training.interruption import StopRequest
    from trackline.training.loop import Row, Trainer


@dataclass(frozen=True)
class Inputs:
    """What the step reads besides the images."""

    annotations: Path = Path("artifacts/annotations.parquet")
    profile: Path = Path("artifacts/profile.json")


@dataclass(frozen=True)
class Outputs:
    """What the step writes; the checkpoint and the one before it are removed when training is done."""

    model: Path = Path("artifacts/model")
    metrics: Path = Path("metrics/train.json")
    curves: Path = Path("plots/train.csv")
    checkpoint: Path = Path("artifacts/checkpoint.safetensors")


def train(params: config.Params, inputs: Inputs, outputs: Outputs) -> Row:
    """Run the step; returns the last epoch's row."""
    from trackline.data import profile
    from trackline.training import checkpoint, distributed
    from trackline.training.interruption import heed_signals

    known = profile.read(inputs.profile) if inputs.profile.is_file() else None
    with distributed.join() as (group, device), heed_signals() as request:
        trainer, loader = make_trainer(params, inputs.annotations, device, group)
        run = identify_run(params, inputs.annotations)
        if checkpoint.resume(outputs.checkpoint, trainer, run) and group.leads:
            print(f"going on {describe_position(trainer)}", flush=True)
        keeper = Keeper(outputs, run, request, params.train.checkpoint_minutes)
        trainer.fit(loader, keeper.after_epoch, keeper.after_step)
        if group.leads:
            write_results(params, inputs, outputs, trainer, known)
            checkpoint.remove(outputs.checkpoint)
        return trainer.rows[-1]


class Keeper:
    """Keeps a run's state on disk: after each epoch, every few minutes, and when told to stop."""

    def __init__(self, outputs: Outputs, run: str, request: StopRequest, minutes: float) -> None:
        self.outputs, self.run, self.request, self.minutes = outputs, run, request, minutes
        self.saved = time.monotonic()

    def after_epoch(self, trainer: Trainer) -> None:
        """Print and write the epoch's row, save, and leave when told to; raises Interrupted."""
        import pandas as pd

        if trainer.group.leads:
            print(format_row(trainer.rows[-1]), flush=True)
            artifacts.write_table(self.outputs.curves, pd.DataFrame(trainer.rows))
        (told,) = trainer.group.agree(self.request.made)
        self._save(trainer)
        if told and trainer.epoch < trainer.config.epochs:
            self._leave(trainer)

    def after_step(self, trainer: Trainer) -> None:
        """Save when it is time, or when told to stop; raises Interrupted then."""
        due = time.monotonic() - self.saved >= 60 * self.minutes
        told, due = trainer.group.agree(self.request.made, due)
        if told or due:
            self._save(trainer)
        if told:
            self._leave(trainer)

    def _save(self, trainer: Trainer) -> None:
        from trackline.training import checkpoint

        checkpoint.save(self.outputs.checkpoint, trainer, self.run)
        self.saved = time.monotonic()

    def _leave(self, trainer: Trainer) -> NoReturn:
        raise Interrupted(
            f"told to stop {describe_position(trainer)}; {self.outputs.checkpoint} holds the run, "
            "start it again to go on"
        )


def describe_position(trainer: Trainer) -> str:
    """How far a run is, in words."""
    return (
        f"after {trainer.epoch} of {trainer.config.epochs} epochs "
        f"and {trainer.batch} of {trainer.batches} batches"
    )


def make_trainer(
    params: config.Params, annotations: Path, device: torch.device, group: Group | None = None
) -> tuple[Trainer, ClipLoader]:
    """Build the network and what feeds it; raises EmptyDataError without training sequences."""
    import torch

    from trackline.data import table
    from trackline.data.clips import ClipLoader
    from trackline.data.frames import Frames
    from trackline.data.sampling import ClipSampler
    from trackline.models import weights
    from trackline.models.network import Network
    from trackline.training.distributed import Group
    from trackline.training.loop import Trainer, check_batch

    group = group or Group()
    check_batch(params.train, group)
    torch.manual_seed(params.train.seed)
    sequences = list(table.iterate(table.read(annotations), "train"))
    if not sequences:
        raise EmptyDataError(f"{annotations} has no sequence in split train; add some and index")
    frames = Frames(Path(params.data.path), params.train.cache_mb)
    classes = params.data.classes
    sampler = ClipSampler(sequences, frames, classes, params.model, params.train)
    network = Network(params.model, len(classes))
    report = weights.initialise(network, params.model.pretrained)
    if report and group.leads:
        print(report)
    loader = ClipLoader(sampler, params.train.batch, params.train.loader_threads, group.share)
    return Trainer(network, params.train, device, group), loader


def identify_run(params: config.Params, annotations: Path) -> str:
    """The digest of all that decides how a run goes on; a checkpoint of another run is ignored."""
    chosen = {k: records.plain(getattr(params, k)) for k in ("data", "model", "train")}
    return artifacts.digest({**chosen, "annotations": artifacts.sha256(annotations)})


def write_results(
    params: config.Params, inputs: Inputs, outputs: Outputs, trainer: Trainer, known: Profile | None
) -> None:
    """Write the package and the metrics of a finished run; `known` is the profile of its data."""
    from trackline.models import package
    from trackline.models.card import write_card
    from trackline.sbom import list_packages
    from trackline.training.lineage import measure_peak_memory_mb, record_lineage

    seconds = sum(row["seconds"] for row in trainer.rows)
    annotations = artifacts.sha256(inputs.annotations)
    lineage = record_lineage(params, annotations, seconds, trainer.device, trainer.group.size)
    classes = params.data.classes if trainer.network.class_head is not None else ()
    model = package.Package(trainer.trained, classes, params.track, lineage)
    extras = {package.SBOM: json.dumps(list_packages(), indent=1).encode()}
    if known:
        extras[package.PROFILE] = see(known, trainer.trained, params, inputs).spell().encode()
    sums = package.save(outputs.model, model, write_card(model, trainer.rows), extras)
    metrics = {"parameters": sum(p.numel() for p in trainer.trained.parameters())}
    final = {
        k: v for k, v in trainer.rows[-1].items() if k not in ("seconds", "samples_per_second")
    }
    costs = {
        "seconds": seconds,
        "samples_per_second": trainer.rows[-1]["samples_per_second"],
        "peak_memory_mb": round(measure_peak_memory_mb(trainer.device), 1),
    }
    artifacts.write_json(outputs.metrics, {**final, **metrics, **costs, "sha256": sums})


def see(known: Profile, network: Network, params: config.Params, inputs: Inputs) -> Profile:
    """The profile with crops of its data as the trained network sees them, for drift to compare."""
    from trackline.data import table
    from trackline.models.embedding import embed

    rows = table.read_used(inputs.annotations)
    return replace(known, embedding=embed(network, rows, Path(params.data.path), known.split))


def format_row(row: Row) -> str:
    """One epoch as a line, with the reference's names."""
    numbers = "  ".join(
        f"{name}: {value:.4f}"
        for name, value in row.items()
        if name.startswith("Loss/") or name in ("IoU", "Accuracy")
    )
    return f"epoch {row['epoch']:.0f}  {numbers}  samples/s: {row['samples_per_second']:.1f}"


def main(argv: list[str] | None = None) -> int:
    """Run the step from the command line."""
    parser = Parser(prog="python -m components.train", description=__doc__)
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--annotations", type=Path, default=Inputs.annotations)
    parser.add_argument("--profile", type=Path, default=Inputs.profile)
    parser.add_argument("--model", type=Path, default=Outputs.model)
    parser.add_argument("--metrics", type=Path, default=Outputs.metrics)
    parser.add_argument("--curves", type=Path, default=Outputs.curves)
    parser.add_argument("--checkpoint", type=Path, default=Outputs.checkpoint)
    given = parser.parse_args(argv)

    def run() -> None:
        start = time.perf_counter()
        inputs = Inputs(given.annotations, given.profile)
        outputs = Outputs(given.model, given.metrics, given.curves, given.checkpoint)
        train(config.load(given.params), inputs, outputs)
        print(f"wrote {outputs.model} after {(time.perf_counter() - start) / 60:.1f} minutes")

    return exit_code(run)


if __name__ == "__main__":
    sys.exit(main())
