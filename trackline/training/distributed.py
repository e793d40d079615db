"""Several processes that train one network, as torchrun starts them: a device each, one gradient.

`train.batch` is the batch of all together. Each process works on its part of it, and the step is the
one that a single process would take: augmentation is drawn for the whole batch, the location loss is
divided by the targets of the whole batch, and batch normalisation sees the whole batch. The last is a
choice: HIPTrack normalises each process by itself, so that its result depends on how many there are.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._C._distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from trackline.data.clips import Share
from trackline.errors import ConfigError, WorkerLost

MEET_SECONDS = 1800  # as long as torch waits for others


@dataclass(frozen=True)
class Group:
    """The processes of a run and this one's place among them; the default is one alone."""

    rank: int = 0
    size: int = 1
    control: dist.ProcessGroup | None = None  # for tensors on the host; None is the default group

    @property
    def leads(self) -> bool:
        """Whether this process is the one that prints and writes."""
        return self.rank == 0

    @property
    def share(self) -> Share:
        """This process's part of each batch."""
        return Share(self.rank, self.size, self.gather)

    def wrap(self, network: nn.Module) -> nn.Module:
        """The network to call in training: gradients and batch statistics become those of all."""
        if self.size == 1:
            return network
        share_statistics(network)
        return DistributedDataParallel(network)

    def add(self, tensor: Tensor) -> Tensor:
        """The sum over the processes, without gradient."""
        if self.size > 1:
            tensor = tensor.clone()
            dist.all_reduce(tensor)
        return tensor

    def gather(self, part: Tensor) -> Tensor:
        """The parts of all, one after another along the first axis, without gradient."""
        if self.size == 1:
            return part
        parts = [torch.empty_like(part) for _ in range(self.size)]
        dist.all_gather(parts, part.contiguous())
        return torch.cat(parts)

    def collect(self, tensor: Tensor) -> list[Tensor]:
        """The tensor of each process, on the host."""
        tensor = tensor.detach().cpu().contiguous()
        if self.size == 1:
            return [tensor]
        tensors = [torch.empty_like(tensor) for _ in range(self.size)]
        dist.all_gather(tensors, tensor, group=self.control)
        return tensors

    def agree(self, *flags: bool) -> tuple[bool, ...]:
        """Each flag set where any process sets it."""
        if self.size == 1:
            return flags
        votes = torch.tensor(flags, dtype=torch.uint8)
        dist.all_reduce(votes, dist.ReduceOp.MAX, group=self.control)
        return tuple(bool(vote) for vote in votes.tolist())


@contextmanager
def join() -> Iterator[tuple[Group, torch.device]]:
    """Join the processes that torchrun started, or be alone; gives the group and the device.

    Raises WorkerLost when another process of the group has died.
    """
    cuda = torch.cuda.is_available()
    size = int(os.environ.get("WORLD_SIZE", "1")) if "LOCAL_RANK" in os.environ else 1
    if size == 1:
        yield Group(), torch.device("cuda" if cuda else "cpu")
        return
    device = _choose_device(int(os.environ["LOCAL_RANK"])) if cuda else torch.device("cpu")
    group = Group(int(os.environ["RANK"]), size)
    try:
        _meet("nccl" if cuda else "gloo")
        control = dist.new_group(backend="gloo") if cuda else None
        assert control is None or isinstance(control, dist.ProcessGroup)
        group = replace(group, control=control)
        yield group, device
    except RuntimeError as error:
        if isinstance(error, dist.DistError) or "gloo" in str(error).lower():
            raise WorkerLost(
                f"process {group.rank} lost touch with another one of {size}; start the run again "
                "(torchrun --max-restarts does), and it goes on from the last checkpoint"
            ) from error
        raise
    dist.destroy_process_group()


def _meet(backend: str) -> None:
    """Find the other processes that live, not those of an attempt that failed before.

    torchrun keeps its store over restarts (pytorch issue 135712), with addresses of the dead in it, and
    each node counts its restarts for itself. So the first process names the attempt, and goes on once
    all others have answered to that name.
    """
    store, rank, size = next(rendezvous("env://"))
    attempt = _invite(store, size) if rank == 0 else _answer(store, rank)
    store = PrefixStore(f"attempt-{attempt}", store)
    dist.init_process_group(backend, store=store, rank=rank, world_size=size)


def _invite(store: Store, size: int) -> str:
    """Name an attempt to whoever says hello, also in a dead one's place, until all have answered."""
    attempt, invited = uuid4().hex, dict.fromkeys(range(1, size), b"")
    for _ in _until_deadline():
        for rank in invited:
            if store.check([f"hello-{rank}"]) and invited[rank] != store.get(f"hello-{rank}"):
                invited[rank] = store.get(f"hello-{rank}")
                store.set(f"invitation-{invited[rank].decode()}", attempt)
        if store.check([f"{attempt}-{rank}" for rank in invited]):
            break
    store.set(f"{attempt}-go", "")
    return attempt


def _answer(store: Store, rank: int) -> str:
    """Say hello under a name of one's own, and answer each invitation to it until one is a start."""
    name = uuid4().hex
    store.set(f"hello-{rank}", name)
    attempt = ""
    for _ in _until_deadline():
        if store.check([f"invitation-{name}"]):
            attempt = store.get(f"invitation-{name}").decode()
            store.set(f"{attempt}-{rank}", "")
            if store.check([f"{attempt}-go"]):
                break
    return attempt


def _until_deadline() -> Iterator[None]:
    """Ticks while others may still come; then raises WorkerLost."""
    deadline = time.monotonic() + MEET_SECONDS
    while time.monotonic() < deadline:
        yield
        time.sleep(0.05)
    raise WorkerLost(
        f"not all processes came within {MEET_SECONDS // 60} minutes; look at what the others print, and "
        "start the run again"
    )


def _choose_device(local_rank: int) -> torch.device:
    count = torch.cuda.device_count()
    if local_rank >= count:
        raise ConfigError(
            f"torchrun started more processes than this machine's {count} GPUs; "
            f"pass --nproc-per-node {count}"
        )
    torch.cuda.set_device(local_rank)
    return torch.device("cuda", local_rank)


def hold_gradients(model: nn.Module) -> AbstractContextManager[None]:
    """Keep gradients local for now: a later backward pass of the same step will share them."""
    if isinstance(model, DistributedDataParallel):
        held: AbstractContextManager[None] = model.no_sync()
        return held
    return nullcontext()


def share_statistics(module: nn.Module) -> None:
    """Let every batch normalisation below a module use the batches of all processes."""
    for name, child in module.named_children():
        if type(child) is nn.BatchNorm2d:
            setattr(module, name, SharedBatchNorm.replace(child))
        share_statistics(child)


class SharedBatchNorm(nn.BatchNorm2d):
    """Batch normalisation over all processes on any device; torch's SyncBatchNorm knows GPUs alone."""

    @classmethod
    def replace(cls, norm: nn.BatchNorm2d) -> SharedBatchNorm:
        """The same layer, shared."""
        shared = cls(norm.num_features, norm.eps, norm.momentum)
        shared.weight, shared.bias = norm.weight, norm.bias
        for name, buffer in norm.named_buffers():
            setattr(shared, name, buffer)
        return shared.train(norm.training)

    def forward(self, x_bchw: Tensor) -> Tensor:
        """Normalise [b, c, h, w] by the mean and variance of all processes' batches."""
        if not self.training:
            return super().forward(x_bchw)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        moments = torch.stack(torch.var_mean(x_bchw.float(), (0, 2, 3), correction=0))
        vars_pc, means_pc = _Gather.apply(moments).unbind(1)
        mean_c = means_pc.mean(0)
        var_c = (vars_pc + (means_pc - mean_c).square()).mean(0)
        with torch.no_grad():
            count = len(means_pc) * x_bchw.numel() / x_bchw.shape[1]
            self.running_mean.lerp_(mean_c, self.momentum)
            self.running_var.lerp_(var_c * (count / (count - 1)), self.momentum)
            self.num_batches_tracked += 1
        scale_c = self.weight * (var_c + self.eps).rsqrt()
        shift_c = self.bias - mean_c * scale_c
        normalised: Tensor = x_bchw * scale_c[:, None, None] + shift_c[:, None, None]
        return normalised.to(x_bchw.dtype)


class _Gather(torch.autograd.Function):
    """The tensors of all processes, stacked; a gradient is the sum of what all have for this one's."""

    @staticmethod
    def forward(_context: Any, tensor: Tensor) -> Tensor:
        tensors = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
        dist.all_gather(tensors, tensor)
        return torch.stack(tensors)

    @staticmethod
    def backward(_context: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        dist.all_reduce(total)
        return total[dist.get_rank()]
