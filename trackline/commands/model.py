"""`trackline model`: build the network that params.yaml describes and count its parameters."""

from __future__ import annotations

import argparse
from pathlib import Path

from trackline import config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `trackline model`."""
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.set_defaults(command=_count_parameters)


def _count_parameters(given: argparse.Namespace) -> None:
    params = config.load(given.params)
    from trackline.models.network import Network

    network = Network(params.model, len(params.data.classes))
    for name, part in network.named_children():
        print(f"{name:12s} {sum(p.numel() for p in part.parameters()):>12,}")
    print(f"{'total':12s} {sum(p.numel() for p in network.parameters()):>12,} parameters")
