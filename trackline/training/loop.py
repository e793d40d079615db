"""The training loop: clips in, a row of losses an epoch out."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from trackline.config import Train
from trackline.data.clips import Batch, ClipLoader, prepare
from trackline.errors import ConfigError, TracklineError
from trackline.models.network import Network
from trackline.training.distributed import Group, hold_gradients
from trackline.training.losses import Losses, compute_losses, count_positives
from trackline.training.optimiser import make_optimiser
from trackline.training.progress import show_progress

NAMES = {
    "total": "Loss/total",
    "giou": "Loss/giou",
    "l1": "Loss/l1",
    "location": "Loss/location",
    "classification": "Loss/classification",
    "iou": "IoU",
    "accuracy": "Accuracy",
}
Row = dict[str, float]
ALONE = Group()


@dataclass
class Trainer:
    """Everything that changes while a network learns."""

    network: Network
    config: Train
    device: torch.device
    group: Group = ALONE
    epoch: int = 0
    batch: int = 0  # of the epoch, the next one
    seconds: float = 0.0  # that the epoch has taken so far
    rows: list[Row] = field(default_factory=list)

    def __post_init__(self) -> None:
        check_batch(self.config, self.group)
        # a tenth faster, forth and back, with the channels of convolutions innermost
        self.network.to(self.device).to(memory_format=torch.channels_last)
        self.network.backbone.recompute = self.config.recompute
        if self.is_frozen:
            self.network.backbone.requires_grad_(False)
        self.optimiser = make_optimiser(self.network, self.config)
        self.augmenter = torch.Generator().manual_seed(self.config.seed)
        self.sums = torch.zeros(len(Losses._fields), device=self.device)  # of the epoch so far
        self.average: AveragedModel | None = None
        if self.config.ema:
            multi_avg = get_ema_multi_avg_fn(self.config.ema)
            self.average = AveragedModel(self.network, multi_avg_fn=multi_avg, use_buffers=True)
        self.model = self.group.wrap(self.network)
        if self.group.rank:  # the others' dropout is not the first one's
            torch.manual_seed(self.config.seed + self.group.rank)

    @property
    def is_frozen(self) -> bool:
        """Whether the backbone stays as it is."""
        return self.config.backbone_lr_scale == 0

    @property
    def trained(self) -> Network:
        """The network to keep: the running average of the weights, where one is kept."""
        trained = self.network if self.average is None else self.average.module
        assert isinstance(trained, Network)
        return trained

    @property
    def batches(self) -> int:
        """Whole batches in an epoch."""
        return self.config.samples_per_epoch // self.config.batch

    def fit(
        self,
        loader: ClipLoader,
        after_epoch: Callable[[Trainer], None],
        after_step: Callable[[Trainer], None] = lambda trainer: None,
    ) -> None:
        """Train what is left, calling back wherever the state can be saved: between steps."""
        while self.epoch < self.config.epochs:
            self._train_epoch(loader, after_step)
            self.rows.append(self._summarise_epoch())
            self.epoch, self.batch, self.seconds = self.epoch + 1, 0, 0.0
            self.sums.zero_()
            after_epoch(self)

    def _train_epoch(self, loader: ClipLoader, after_step: Callable[[Trainer], None]) -> None:
        config, before, start = self.config, self.seconds, time.perf_counter()
        self.network.train()
        if self.is_frozen:  # no stochastic depth, no new batch statistics: as in tracking
            self.network.backbone.eval()
        title = f"epoch {self.epoch + 1}/{config.epochs}"
        with show_progress(title, self.batch, self.batches, not self.group.leads) as advance:
            for batch in loader(self.epoch, config.samples_per_epoch, self.batch):
                for group in self.optimiser.param_groups:
                    group["lr"] = group["base_lr"] * self._rate(self.batch)
                self.sums += self.step(batch, self._keep())
                self.batch += 1
                self.seconds = before + time.perf_counter() - start
                advance()
                if self.batch < self.batches:
                    after_step(self)

    def _summarise_epoch(self) -> Row:
        means = (self.group.add(self.sums) / self.group.size / self.batches).tolist()
        if not math.isfinite(means[0]):
            raise TracklineError(
                f"the loss of epoch {self.epoch + 1} is {means[0]}; lower train.lr or train.clip_norm"
            )
        return {
            "epoch": self.epoch + 1,
            **dict(zip((NAMES[n] for n in Losses._fields), means, strict=True)),
            "lr": self.optimiser.param_groups[0]["base_lr"] * self._rate(self.batches - 1),
            "keep": self._keep(),
            "seconds": self.seconds,
            "samples_per_second": self.batches * self.config.batch / self.seconds,
        }

    def _rate(self, batch: int) -> float:
        share = (self.epoch + batch / self.batches) / self.config.epochs
        return learning_rate_scale(share, self.config)

    def _keep(self) -> float:
        return keep_ratio(self.epoch, self.network.config.elimination.keep[0], self.config)

    def step(self, batch: Batch, keep: float) -> Tensor:
        """One optimiser step; this process's losses, averaged over frames, as one detached tensor."""
        flips, share = self.network.config.mimics("flips"), self.group.share
        batch = batch.to(self.device)
        batch = prepare(batch, self.config.augment, self.augmenter, flips, share)
        *others, last = batch.split(self.config.accumulate)
        positives = self._count_positives(batch)
        self.optimiser.zero_grad(set_to_none=True)
        with hold_gradients(self.model):
            losses = [self._learn(part, keep, positives) for part in others]
        losses.append(self._learn(last, keep, positives))
        if self.config.clip_norm:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.config.clip_norm)
        self.optimiser.step()
        if self.average is not None:
            self.average.update_parameters(self.network)
        return torch.stack(losses).mean(0)

    def _learn(self, part: Batch, keep: float, positives: Tensor | None) -> Tensor:
        """Add the gradient of a part of the step's batch; its losses."""
        dtype = torch.bfloat16 if self.config.precision == "bfloat16" else None
        with torch.autocast(self.device.type, dtype, enabled=dtype is not None):
            predictions = self.model(
                part.templates, part.template_boxes_xywh, part.searches, keep, part.boxes_xywh
            )
        weigh = partial(
            compute_losses,
            labels_b=None if self.network.class_head is None else part.labels,
            class_weight=self.config.class_weight,
            label_smoothing=self.config.label_smoothing,
        )
        frames = [
            weigh(p, part.boxes_xywh[:, i], positives=None if positives is None else positives[i])
            for i, p in enumerate(predictions)
        ]
        losses = torch.stack([torch.stack(frame) for frame in frames]).mean(0)
        (losses[0] / self.config.accumulate).backward()
        return losses.detach()

    def _count_positives(self, batch: Batch) -> Tensor | None:
        """What the location loss of each frame is divided by in a part of the step's batch."""
        parts = self.config.accumulate * self.group.size
        if parts == 1:
            return None
        positives = count_positives(batch.boxes_xywh, self.network.backbone.grid_x)
        return self.group.add(positives).clamp(min=1) / parts


def check_batch(config: Train, group: Group) -> None:
    """Raise ConfigError unless the batch can be divided among processes and their passes."""
    if config.batch % (config.accumulate * group.size):
        raise ConfigError(
            f"train.batch is {config.batch}; it is the batch of all processes together and must be a "
            f"multiple of {group.size} processes × train.accumulate {config.accumulate}"
        )


def learning_rate_scale(share: float, config: Train) -> float:
    """Linear warm-up, then a cosine to 1 % of the rate or a step to 10 %, at a share [0, 1) of the run."""
    warmup = config.warmup_epochs / config.epochs
    if share < warmup:
        return max(share / warmup, 0.01)
    if config.schedule == "step":
        return 0.1 if share >= config.step_epoch / config.epochs else 1.0
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (share - warmup) / max(1 - warmup, 1e-9)))


def keep_ratio(epoch: int, ratio: float, config: Train) -> float:
    """Ratio of candidates kept in an epoch: 1 at first, then a cosine down to `ratio` (OSTrack)."""
    start, length = config.keep_start_epoch, config.keep_warmup_epochs
    if epoch < start:
        return 1.0
    if epoch >= start + length:
        return ratio
    return ratio + (1 - ratio) * (math.cos(math.pi * (epoch - start) / length) + 1) / 2
