"""What the class head should pool: trains and evaluates the default run once for each way and seed.

Everything but model.class_head.pool and train.seed is params.yaml's. Runs are kept below OUT as
`trackline compare` keeps its own, so that a killed run goes on and a finished one counts again.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from components.compare import Run, check_choice
from trackline import artifacts, config
from trackline.commandline import Parser, exit_code

Pool = Literal["survivors", "all", "fused", "box"]


def main(argv: list[str] | None = None) -> int:
    """Print the table as Markdown."""
    parser = Parser(prog="python -m benchmarks.pools", description=__doc__)
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--annotations", type=Path, default=Path("artifacts/annotations.parquet"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--out", type=Path, default=Path("artifacts/pools"))
    given = parser.parse_args(argv)

    def run() -> None:
        params = config.load(given.params)
        pools = get_args(Pool)
        check_choice(pools, given.seeds, given.annotations)
        runs = [
            Run(choose(params, pool, seed), given.annotations, given.out / f"{pool}-{seed}")
            for pool in pools
            for seed in given.seeds
        ]
        for number, each in enumerate(runs, 1):
            each.finish(f"[{number}/{len(runs)}]")
        print("| pool | seeds | class, sequence | class, frame | AO |")
        print("|---|---:|---:|---:|---:|")
        for pool in pools:
            chosen = [r for r in runs if r.params.model.class_head.pool == pool]
            metrics = [artifacts.read_json(r.folder / "evaluate.json") for r in chosen]
            print(format_row(pool, metrics))

    return exit_code(run)


def choose(params: config.Params, pool: Pool, seed: int) -> config.Params:
    """The same run with another pool and seed."""
    head = replace(params.model.class_head, pool=pool)
    model, train = replace(params.model, class_head=head), replace(params.train, seed=seed)
    evaluate = replace(params.evaluate, csrt=False)
    return replace(params, model=model, train=train, evaluate=evaluate)


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
