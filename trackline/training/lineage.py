"""Where a model comes from: code, data, parameters, versions, hardware, time."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
import yaml

from trackline import config, records

LIBRARIES = ("torch", "timm", "numpy", "opencv-contrib-python-headless", "pandas", "trackline")


def record_lineage(
    params: config.Params,
    annotations_sha256: str,
    seconds: float,
    device: torch.device,
    processes: int = 1,
) -> dict[str, Any]:
    """Collect what a reader needs to know how these weights came about, or to make them again."""
    return {
        "git": read_git(),
        "data": {"dvc_md5": read_data_md5(), "annotations_sha256": annotations_sha256},
        "params": {
            k: records.plain(getattr(params, k)) for k in ("data", "model", "train", "track")
        },
        "versions": {"python": platform.python_version(), **_versions()},
        "seed": params.train.seed,
        "hardware": describe_hardware(device),
        "processes": processes,
        "training_seconds": round(seconds, 1),
        **_count_device_seconds(seconds, processes, device),
    }


def read_git() -> dict[str, Any]:
    """The revision of the working tree and whether files were changed since; nulls outside git.

    In an image, which is no working tree, TRACKLINE_REVISION is what it was built from.
    """
    revision = _git("rev-parse", "HEAD")
    if not revision and (built := os.environ.get("TRACKLINE_REVISION", "unknown")) != "unknown":
        return {"revision": built, "changed": None}
    changed = _git("status", "--porcelain", "--untracked-files=no")
    return {"revision": revision or None, "changed": bool(changed) if revision else None}


def read_data_md5(pointer: Path = Path("data.dvc")) -> str | None:
    """The hash by which DVC knows the data; None without a pointer."""
    if not pointer.is_file():
        return None
    md5 = yaml.safe_load(pointer.read_text(encoding="utf-8"))["outs"][0].get("md5")
    return None if md5 is None else str(md5)


def describe_hardware(device: torch.device) -> str:
    """The device in words."""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)} × {torch.cuda.device_count()}"
    threads = torch.get_num_threads()
    return (
        f"{os.cpu_count()} CPU cores, {platform.machine()}, {threads} thread{'s' * (threads > 1)}"
    )


def measure_peak_memory_mb(device: torch.device) -> float:
    """The most memory that this process has held so far: of the GPU, or else of the host."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def _count_device_seconds(seconds: float, processes: int, device: torch.device) -> dict[str, float]:
    """What a training occupied: each process has a GPU of its own, or its threads of the CPU."""
    if device.type == "cuda":
        return {"gpu_seconds": round(seconds * processes, 1)}
    return {"core_seconds": round(seconds * processes * torch.get_num_threads(), 1)}


def _versions() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ("git", *arguments), capture_output=True, text=True, check=False, timeout=10
        )
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
