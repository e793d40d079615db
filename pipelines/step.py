"""What surrounds every step in its pod: a scratch folder, parameters, footage, and the journal.

A pod learns from its environment, which Kubeflow's cache does not look at, what differs between
clusters but not between results:

TRACKLINE_RUN          the run, which names the journal and the checkpoint
TRACKLINE_JOURNAL      folder or s3://bucket/prefix for the journals of all runs
TRACKLINE_REMOTE       the DVC remote that holds the footage
TRACKLINE_DATA         folder for footage, shared or not
TRACKLINE_CHECKPOINTS  shared folder or s3://bucket/prefix for checkpoints, so that a retried training goes on
TRACKLINE_UI           address of Kubeflow's pages, for links to the run
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from pipelines.recorder import recorded
from trackline import artifacts, champion, config, records
from trackline.data import table
from trackline.errors import ConfigError

if TYPE_CHECKING:
    from kfp.dsl import Artifact

Section = Mapping[str, Any]


class Step:
    """A step at work, as a context: `data`, `params`, `params_file` and `pin` are there on entry.

    What it sets as `told` stands in the journal and in the summary of the run.

    The working folder is a scratch folder that holds params.yaml, champion.json and data.dvc, so that
    a path no one set is no path of the image.
    """

    def __init__(
        self, name: str, data_rev: str = "", pin: Section | None = None, **sections: Section
    ) -> None:
        self.name, self.data_rev, self._pin, self._sections = name, data_rev, pin, sections
        self.run, self.told = find_run(), ""

    def __enter__(self) -> Step:
        self._left = self._surround()
        self._left.__enter__()
        return self

    def __exit__(self, *error: Any) -> bool | None:
        return self._left.__exit__(*error)

    @contextmanager
    def _surround(self) -> Iterator[None]:
        with (
            tempfile.TemporaryDirectory(prefix="trackline-") as scratch,
            chdir(scratch),
            recorded(find_journal(self.run), self.name) as entry,
        ):
            self._prepare(Path(scratch))
            yield
            entry["told"] = self.told

    def _prepare(self, scratch: Path) -> None:
        from components.fetch import fetch

        self.pin, self.params_file = scratch / champion.PIN, scratch / "params.yaml"
        if self._pin is not None:
            artifacts.write_json(self.pin, _restore_whole_numbers(self._pin))
        sections = {name: _restore_whole_numbers(s) for name, s in self._sections.items()}
        if self.data_rev:
            self.data = fetch(self.data_rev, read("TRACKLINE_REMOTE"), find_data_root())
            sections.setdefault("data", {})["path"] = str(self.data)
            pointer = {"outs": [{"md5": self.data_rev, "hash": "md5", "path": "data"}]}
            (scratch / "data.dvc").write_text(yaml.safe_dump(pointer))
        self.params_file.write_text(yaml.safe_dump(sections))
        self.params = records.read(config.Params, self.params_file)

    def lay_table(self, annotations: Artifact, quarantine: Artifact) -> Path:
        """Lay the annotation table and what is set aside of it side by side, as its readers expect."""
        folder = self.params_file.parent
        (folder / table.QUARANTINE).symlink_to(quarantine.path)
        (folder / "annotations.parquet").symlink_to(annotations.path)
        return folder / "annotations.parquet"

    @property
    def checkpoint(self) -> str:
        """Where this run's training keeps its state, the same for every try of it: a file or s3://."""
        root = os.environ.get("TRACKLINE_CHECKPOINTS") or self.params_file.parent / "checkpoints"
        return f"{root}/{self.run}/checkpoint.safetensors"


def _restore_whole_numbers(value: Any) -> Any:
    """Undo what Kubeflow's parameters do to integers, which become 3.0; a float may be read from 3."""
    if isinstance(value, Mapping):
        return {k: _restore_whole_numbers(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_restore_whole_numbers(v) for v in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def read(variable: str) -> str:
    """An environment variable that a step cannot do without; raises ConfigError."""
    if value := os.environ.get(variable):
        return value
    raise ConfigError(f"{variable} is not set; the environment's file sets it for every step")


def find_run() -> str:
    """The name of the run that this step belongs to."""
    return os.environ.get("TRACKLINE_RUN", "run")


def find_page(run: str) -> str:
    """The address of a run's page; empty where Kubeflow's pages have no address."""
    ui = os.environ.get("TRACKLINE_UI", "")
    return f"{ui.rstrip('/')}/#/runs/details/{run}" if ui else ""


def find_data_root() -> Path:
    """Where footage goes: the shared folder, or this machine's own."""
    return Path(os.environ.get("TRACKLINE_DATA") or Path(tempfile.gettempdir()) / "trackline-data")


def find_journal(run: str) -> str | None:
    """The journal of a run; None where none is kept."""
    root = os.environ.get("TRACKLINE_JOURNAL")
    return f"{root.rstrip('/')}/{run}" if root else None
