"""`trackline weights`: weights made elsewhere."""

from __future__ import annotations

import argparse
from pathlib import Path

from trackline import config
from trackline.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Subcommands of `trackline weights`."""
    kinds = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_convert(kinds.add_parser("convert", help="make a model package of a checkpoint"))


def _add_convert(parser: argparse.ArgumentParser) -> None:
    parser.description = """\
Make a model package of weights made elsewhere, and say which tensors were mapped, which were left
and what starts afresh. Pickled files are read without running code they name.

  trackline weights convert HIPTrack_ep0100.pth.tar weights/hiptrack
  trackline track VIDEO --box x,y,w,h --model weights/hiptrack     # the reference's boxes
  model.pretrained: weights/hiptrack                               # in params.yaml, to train on

exit codes: 0 converted, 3 params, 21 a source that cannot be read or does not fit, 64 usage"""
    parser.add_argument(
        "checkpoint",
        help="a file of HIPTrack, DropTrack, OSTrack, MAE or timm, a package, or a timm model's name",
    )
    parser.add_argument("out", type=Path, help="folder to make: a model package")
    parser.add_argument(
        "--params",
        type=Path,
        help="take model and data.classes from this file instead of reading the sizes off the tensors",
    )
    parser.add_argument("--force", action="store_true", help="replace OUT if it exists")
    parser.set_defaults(command=_convert)


def _convert(given: argparse.Namespace) -> None:
    if given.out.exists() and not given.force:
        raise UsageError(f"{given.out} exists; name another folder, or replace it with --force")
    params = None if given.params is None else config.load(given.params)
    from trackline.models.conversion import convert

    made, report = convert(given.checkpoint, given.out, params)
    model = made.network.config
    vit = model.backbone
    print(
        f"{given.checkpoint}: template {model.template.size}, search {model.search.size}, "
        f"ViT of patch {vit.patch}, width {vit.width}, depth {vit.depth}, {vit.heads} heads\n{report}"
    )
    print(f"wrote {given.out}; its sizes are in {given.out / 'model.yaml'}")
