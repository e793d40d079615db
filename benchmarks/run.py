"""Trackline against the plain eager yardstick: same weights, same inputs, in one run.

Prints a table as Markdown: latency of one stream with an empty and a full memory, one training step, and
the memory that each takes above its resting state. Both take turns, so that other load hits both; on a CPU
with one thread the clock is the process's own time. Both must agree before anything is timed.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmarks.eager import make_eager, make_eager_tracker
from trackline import config
from trackline.commandline import Parser
from trackline.models.network import Network
from trackline.tracking.tracker import Tracker
from trackline.training.lineage import describe_hardware
from trackline.training.losses import compute_losses
from trackline.training.pace import time_call

Run = Callable[[], object]
MIB = 2**20


class Row(NamedTuple):
    """One comparison: milliseconds and MiB, of Trackline and of the yardstick."""

    what: str
    ms: float
    eager_ms: float
    mib: float
    eager_mib: float

    def __str__(self) -> str:
        times = f"{self.ms:,.1f} | {self.eager_ms:,.1f} | {self.eager_ms / self.ms:.2f}"
        share = self.mib / self.eager_mib if self.eager_mib else float("nan")
        return f"| {self.what} | {times} | {self.mib:,.0f} | {self.eager_mib:,.0f} | {share:.2f} |"


def main(argv: list[str] | None = None) -> None:
    """Measure the sizes asked for."""
    parser = Parser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument("--size", choices=["base", "default", "both"], default="both")
    parser.add_argument("--only", choices=["latency", "training"], help="one half of the rows")
    parser.add_argument("--repeat", type=int, default=5, help="turns each takes; the median counts")
    parser.add_argument("--threads", type=int, default=1, help="of a CPU")
    given = parser.parse_args(argv)
    torch.set_num_threads(given.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    print(f"{time.strftime('%Y-%m-%d')}, {describe_hardware(device)}, torch {torch.__version__}\n")
    print("| | ms | eager ms | times faster | MiB | eager MiB | share |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name in ("default", "base") if given.size == "both" else (given.size,):
        for row in measure(name, given, device):
            print(row, flush=True)


def measure(name: str, given: argparse.Namespace, device: torch.device) -> Iterator[Row]:
    """The rows of one size."""
    params = config.load(Path("params.yaml"))
    model = config.Model() if name == "base" else params.model
    # the full memory is the reference's, 150 entries, at either size
    model = replace(model, history=replace(model.history, capacity=150), pretrained=None)
    torch.manual_seed(0)
    network = Network(model, len(params.data.classes)).to(device).eval()
    title = f"{name} {model.template.size}/{model.search.size}"
    if given.only != "training":
        yield from measure_latency(title, network, params.track, given.repeat, device)
    if given.only != "latency":
        base = name == "base"
        train = replace(params.train, batch=1 if base else 32, search_frames=5 if base else 2)
        network.backbone.requires_grad_(not base)  # the reference freezes its ViT-B
        eager = make_eager(network)
        network.to(memory_format=torch.channels_last)  # as the trainer has it
        steps = [make_step(n, train, device) for n in (network, eager)]
        what = f"{title}, training step of {train.batch} × {train.search_frames} frames"
        yield compare(what, steps, max(2, given.repeat // 2), device)


def measure_latency(
    title: str, network: Network, track: config.Track, repeat: int, device: torch.device
) -> Iterator[Row]:
    """Single-stream steps: the first frame, one late in a sequence, one that is written."""
    mine, schedule = Tracker(network, track), network.config.history
    pair = (mine, make_eager_tracker(mine))
    agree(pair)
    late = schedule.template_until + 1
    late += schedule.writes(late)
    due = late + next(i for i in range(1, 1000) if schedule.writes(late + i))
    frames = {"empty memory": 1, "150 entries": late, "150 entries, and a write": due}
    for what, frame in frames.items():
        yield compare(f"{title}, {what}", [_stepper(t, frame) for t in pair], repeat, device)


def agree(pair: tuple[Tracker, Tracker]) -> None:
    """Follow some frames with both and stop where their boxes differ."""
    images = np.random.default_rng(0).integers(0, 256, (14, 240, 320, 3)).astype(np.uint8)
    for tracker in pair:
        tracker.start(0, images[0], np.array([120.0, 90, 70, 50]))
    for image in images[1:]:
        mine, theirs = (tracker.step([0], [image])[0] for tracker in pair)
        np.testing.assert_allclose(mine.box_xywh, theirs.box_xywh, atol=0.05)
        pair[1]._streams[0].box_xywh = mine.box_xywh


def _stepper(tracker: Tracker, frame: int) -> Run:
    """A step of a tracker at a frame of that number, its memory empty or full."""
    image = np.random.default_rng(1).integers(0, 256, (480, 640, 3)).astype(np.uint8)
    box = np.array([250.0, 180, 120, 100])

    def step() -> object:
        stream = tracker._streams[0]
        stream.box_xywh, stream.frame = box, frame - 1  # the step counts it
        return tracker.step([0], [image])

    if frame > 1:
        fill(tracker)
    return step


@torch.inference_mode()
def fill(tracker: Tracker) -> None:
    """Write until the memory is full."""
    keys, values, _ = (None if x is None else x[:, :1] for x in tracker.memory.entries([0]))
    assert keys is not None
    assert values is not None
    positions = tracker.network.backbone.grid_x**2
    generator = torch.Generator(keys.device).manual_seed(0)
    while tracker.memory.written[0] < tracker.model.history.capacity:
        entry = (
            torch.randn(1, positions, x.shape[-1], generator=generator, device=x.device)
            for x in (keys, values)
        )
        tracker.memory.write([0], *entry)


def make_step(network: Network, train: config.Train, device: torch.device) -> Run:
    """One optimiser step on random images."""
    network.train()
    model = network.config
    generator = torch.Generator().manual_seed(0)
    b, t = train.batch, train.search_frames
    template = torch.randn(b, 3, model.template.size, model.template.size, generator=generator)
    searches = torch.randn(b, t, 3, model.search.size, model.search.size, generator=generator)
    boxes = torch.tensor([0.3, 0.3, 0.3, 0.3]).repeat(b, 1).to(device)
    labels = torch.zeros(b, dtype=torch.long, device=device)
    trainable = [p for p in network.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trainable, 1e-5)
    template, searches = template.to(device), searches.to(device)
    bf16 = torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")

    def step() -> Tensor:
        with bf16:
            said = network(template, boxes, searches, 0.7)
        losses = [compute_losses(p, boxes, labels, 1.0).total for p in said]
        total = torch.stack(losses).sum()
        optimiser.zero_grad(set_to_none=True)
        total.backward()
        optimiser.step()
        return total.detach()

    return step


def compare(what: str, runs: list[Run], repeat: int, device: torch.device) -> Row:
    """Let both take turns after one turn each to warm up, which also gives their memory."""
    mib = [find_peak(run, device) for run in runs]
    turns: list[list[float]] = [[], []]
    for _ in range(repeat):
        for run, seconds in zip(runs, turns, strict=True):
            seconds.append(time_call(run, device))
    mine, theirs = (1000 * statistics.median(t) for t in turns)
    return Row(what, mine, theirs, *mib)


def find_peak(run: Run, device: torch.device) -> float:
    """MiB that one turn takes above what is held before it."""
    run()
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return (torch.cuda.max_memory_allocated() - before) / MIB
    with _watch_resident() as peak:
        run()
    return peak()


@contextmanager
def _watch_resident() -> Iterator[Callable[[], float]]:
    """Peak resident memory (Linux) above the start of the block, in MiB."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forgets the peak so far
    before = _read_status("VmRSS")
    yield lambda: (_read_status("VmHWM") - before) / 1024


def _read_status(key: str) -> int:
    lines: Any = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key))


if __name__ == "__main__":
    main()
