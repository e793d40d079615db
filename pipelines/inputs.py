"""What a run starts from, found in a working tree: parameters, the data's revision, the champion's pin."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from trackline import champion, config, records
from trackline.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from pipelines.graph import Inputs

POINTER = "data.dvc"
MD5 = re.compile(r"[0-9a-f]{32}(\.dir)?")


def collect(
    params: Path,
    changes: Iterable[str] = (),
    revision: str | None = None,
    on_drift: bool = False,
) -> Inputs:
    """Read params.yaml with changes like train.epochs=30, data.dvc (of a git revision) and champion.json.

    Raises ConfigError or UsageError.
    """
    from pipelines.graph import Inputs

    return Inputs(
        find_data_revision(revision),
        change_params(params, changes),
        champion.read_pin(champion.PIN),
        on_drift,
    )


def change_params(path: Path, changes: Iterable[str]) -> config.Params:
    """Read parameters, some of them changed; raises ConfigError, or UsageError for what is no change."""
    params = records.plain(config.load(path))
    for change in changes:
        name, separator, text = change.partition("=")
        section: Any = params
        *above, last = name.split(".")
        for key in above:
            section = section.get(key) if isinstance(section, dict) else None
        if not (separator and isinstance(section, dict)):
            raise UsageError(
                f"{change!r} is no change of a parameter; write SECTION.NAME=VALUE, train.epochs=30"
            )
        section[last] = yaml.safe_load(text)
    return records.parse(config.Params, params)


def find_data_revision(revision: str | None = None, pointer: Path = Path(POINTER)) -> str:
    """The hash of the footage: a hash itself, that of a git revision's data.dvc, or today's data.dvc."""
    if revision and MD5.fullmatch(revision):
        return revision
    text = _show(revision, pointer) if revision else _read(pointer)
    found = yaml.safe_load(text)["outs"][0].get("md5")
    if not found:
        raise ConfigError(f"{pointer} has no hash yet; run dvc commit {pointer}")
    return str(found)


def _show(revision: str, pointer: Path) -> str:
    done = subprocess.run(
        ("git", "show", f"{revision}:{pointer}"), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise UsageError(
            f"{revision!r} is neither a hash nor a git revision with a data.dvc: {done.stderr.strip()}"
        )
    return done.stdout


def _read(pointer: Path) -> str:
    if not pointer.is_file():
        raise UsageError(
            f"{pointer} does not exist here; go to the project's root, or give --data-rev"
        )
    return pointer.read_text(encoding="utf-8")
