"""Every way Trackline ends on purpose, and the exit code of each.

TracklineError                1   anything below, when no finer class fits
├── GateRefused               2   the gate said no: nothing reaches the registry
├── ConfigError               3   params.yaml: unknown key, wrong type, value out of range
├── DataError                10   the data cannot be read at all
│   ├── EmptyDataError       11   no sequence under the data folder
│   ├── MissingFrameError    12   an annotated frame has no image (or the reverse)
│   ├── CorruptImageError    13   an image cannot be decoded
│   ├── BoxError             14   a box is outside its image, not positive or not finite
│   └── ClassError           15   a class that params.yaml does not list
├── ValidationError          16   a rule of another kind failed
├── RegistryError            20   the registry has no such version, or a move came too late
│   └── RegistryUnreachable  20   the registry cannot be reached or written
├── PackageError             21   a model package is incomplete, altered or of another shape
├── CheckpointError          22   the processes of a run cannot agree where to go on
├── UsageError               64   a command line that cannot be understood
├── Interrupted              75   told to stop (SIGTERM, Ctrl-C); all is saved, start it again
└── WorkerLost               76   another process of a distributed run died; start the run again
"""

from __future__ import annotations

from typing import ClassVar


class TracklineError(Exception):
    """An expected failure; its text is one sentence a person can act on."""

    exit_code: ClassVar[int] = 1


class GateRefused(TracklineError):
    """The candidate did not pass its gates."""

    exit_code = 2


class ConfigError(TracklineError):
    """params.yaml holds something that cannot be meant."""

    exit_code = 3


class DataError(TracklineError):
    """The data cannot be read."""

    exit_code = 10


class EmptyDataError(DataError):
    """There is no sequence where one was expected."""

    exit_code = 11


class MissingFrameError(DataError):
    """Annotation rows and images do not pair up."""

    exit_code = 12


class CorruptImageError(DataError):
    """An image cannot be decoded."""

    exit_code = 13


class BoxError(DataError):
    """A box breaks the rules of geometry."""

    exit_code = 14


class ClassError(DataError):
    """A class name that the configuration does not know."""

    exit_code = 15


class ValidationError(DataError):
    """The data breaks a rule that has no class of its own."""

    exit_code = 16


class RegistryError(TracklineError):
    """The model registry does not have or does not take what was asked of it."""

    exit_code = 20


class RegistryUnreachable(RegistryError):
    """The registry does not answer: what was fetched before may do."""


class PackageError(TracklineError):
    """A model package cannot be trusted or does not fit."""

    exit_code = 21


class CheckpointError(TracklineError):
    """The processes of a distributed run do not see the same checkpoint."""

    exit_code = 22


class UsageError(TracklineError):
    """The command line cannot be understood."""

    exit_code = 64


class Interrupted(TracklineError):
    """A long step was told to stop and has saved where it was."""

    exit_code = 75


class WorkerLost(TracklineError):
    """Another process of a distributed run is gone."""

    exit_code = 76
