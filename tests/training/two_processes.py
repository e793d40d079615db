"""One training step of a miniature, in as many processes as torchrun starts, for tests to compare."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from components.train import make_trainer
from trackline import config
from trackline.training.distributed import Group, join


def take_step(params: config.Params, annotations: Path, group: Group) -> dict[str, Tensor]:
    """The step's losses, the gradients and what the layers remember of the batch.

    No dropout: its masks differ from process to process.
    """
    head = dataclasses.replace(params.model.class_head, dropout=0.0)
    params = dataclasses.replace(params, model=dataclasses.replace(params.model, class_head=head))
    trainer, loader = make_trainer(params, annotations, torch.device("cpu"), group)
    trainer.network.train()
    losses = trainer.step(next(iter(loader(0, params.train.batch))), keep=0.7)
    gradients = {f"gradient.{k}": p.grad for k, p in trainer.network.named_parameters()}
    return {
        "losses": group.add(losses) / group.size,
        **{k: v.contiguous() for k, v in gradients.items() if v is not None},
        **{f"buffer.{k}": v.clone() for k, v in trainer.network.named_buffers()},
    }


if __name__ == "__main__":
    with join() as (joined, _):
        found = take_step(config.load(Path(sys.argv[1])), Path(sys.argv[2]), joined)
        if joined.leads:
            safetensors.torch.save_file(found, sys.argv[3])
