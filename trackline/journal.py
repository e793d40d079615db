"""A run's journal: an entry for each step, in a folder or below s3://, for whoever asks what happened.

Kubeflow keeps no artifact and often no log of a step that failed; the journal keeps its error and the
last lines it printed. Entries are JSON: step, state (running, succeeded or failed), started, tries, in
the end seconds and what the step told, and for a failure error, exit_code and log. An entry that says
running when the run is over is of a step that was killed.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from trackline.errors import DataError

Entry = dict[str, Any]


def begin(journal: str | None, step: str) -> Entry:
    """Make and keep the entry of a step that begins, counting its tries; None keeps it nowhere."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    entry: Entry = {"step": step, "state": "running", "started": now, "tries": 1}
    if journal is not None:
        folder, system = _open(journal)
        if system.exists(f"{folder}/{step}.json"):
            entry["tries"] += json.loads(system.cat_file(f"{folder}/{step}.json"))["tries"]
        write(journal, entry)
    return entry


def write(journal: str, entry: Entry) -> None:
    """Keep an entry; a later try of the same step replaces an earlier one."""
    folder, system = _open(journal)
    system.makedirs(folder, exist_ok=True)
    with system.open(f"{folder}/{entry['step']}.json", "w") as file:
        file.write(json.dumps(entry, indent=2, ensure_ascii=False) + "\n")


def read(journal: str) -> list[Entry]:
    """The entries in the order in which their steps began; raises DataError without a journal."""
    folder, system = _open(journal)
    try:
        names = [n for n in system.ls(folder, detail=False) if n.endswith(".json")]
        entries = [json.loads(system.cat_file(name)) for name in names]
    except FileNotFoundError:
        raise DataError(
            f"there is no journal at {journal}; `trackline pipeline status` lists the runs"
        ) from None
    except (OSError, ValueError) as error:
        raise DataError(f"the journal at {journal} cannot be read: {error}") from None
    return sorted(entries, key=lambda entry: str(entry["started"]))


def find_newest(root: str) -> str:
    """The name of the run below `root` that wrote last; raises DataError when there is none."""
    folder, system = _open(root)
    try:
        times = {info["name"]: _time(info, system) for info in system.ls(folder, detail=True)}
        return str(max(times, key=lambda name: times[name])).rsplit("/", 1)[-1]
    except (FileNotFoundError, ValueError):
        raise DataError(
            f"there is no journal below {root}; no step of a run has ended yet"
        ) from None


def _time(info: Entry, system: Any) -> str:
    """A folder's time; where folders have none, as in an object store, that of its newest entry."""
    if "mtime" in info:
        return f"{info['mtime']:020.3f}"
    files = system.ls(info["name"], detail=True) if info["type"] == "directory" else []
    return max((str(file.get("LastModified", "")) for file in files), default="")


def _open(journal: str) -> tuple[str, Any]:
    from fsspec.core import url_to_fs

    system, folder = url_to_fs(journal, use_listings_cache=False)
    return folder.rstrip("/"), system
