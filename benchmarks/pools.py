"""What the class head should pool: trains and evaluates the default run once for each way and seed.

Everything but model.class_head.pool and train.seed is params.yaml's. Packages and metrics stay below OUT,
and what is there already is not made again, so that a killed run goes on. Some minutes a row.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from trackline import artifacts, config
from trackline.commandline import Parser, exit_code

Pool = Literal["survivors", "all", "fused", "box"]


def main(argv: list[str] | None = None) -> int:
    """Print the table as Markdown."""
    parser = Parser(prog="python -m benchmarks.pools", description=__doc__)
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--annotations", type=Path, default=Path("artifacts/annotations.parquet"))
    parser.add_argument("--profile", type=Path, default=Path("artifacts/profile.json"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--out", type=Path, default=Path("artifacts/pools"))
    given = parser.parse_args(argv)

    def run() -> None:
        params = config.load(given.params)
        print("| pool | seeds | class, sequence | class, frame | AO |")
        print("|---|---:|---:|---:|---:|")
        for pool in get_args(Pool):
            rows = [
                measure(choose(params, pool, seed), given, given.out / f"{pool}-{seed}")
                for seed in given.seeds
            ]
            print(format_row(pool, rows), flush=True)

    return exit_code(run)


def choose(params: config.Params, pool: Pool, seed: int) -> config.Params:
    """The same run with another pool and seed."""
    head = replace(params.model.class_head, pool=pool)
    model, train = replace(params.model, class_head=head), replace(params.train, seed=seed)
    evaluate = replace(params.evaluate, csrt=False)
    return replace(params, model=model, train=train, evaluate=evaluate)


def measure(params: config.Params, given: Any, out: Path) -> dict[str, Any]:
    """The metrics of one run, from where it was left."""
    from components import evaluate, train

    model, metrics = out / "model", out / "evaluate.json"
    if not model.is_dir():
        paths = (model, out / "train.json", out / "train.csv", out / "checkpoint.safetensors")
        train.train(params, train.Inputs(given.annotations, given.profile), train.Outputs(*paths))
    if not metrics.is_file():
        inputs = evaluate.Inputs(model, given.annotations)
        evaluate.evaluate(
            params, inputs, evaluate.Outputs(metrics, out / "predictions.parquet", out / "plots")
        )
    found: dict[str, Any] = artifacts.read_json(metrics)
    return found


def format_row(pool: str, rows: list[dict[str, Any]]) -> str:
    """Means over the seeds, and their range where there are several."""

    def show(name: str) -> str:
        values = [row[name] for row in rows]
        ends = f" [{min(values):.3f}, {max(values):.3f}]" if len(values) > 1 else ""
        return f"{np.mean(values):.3f}{ends}"

    cells = (show(name) for name in ("sequence_accuracy", "accuracy", "ao"))
    return f"| {pool} | {len(rows)} | {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())
