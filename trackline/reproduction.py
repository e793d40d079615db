"""Make a registered version again from its number alone, and compare it byte by byte.

Finds the commit that holds the version's results, checks it out beside the project, brings the data that
the version names through DVC, trains there, and compares. On CPU the weights are the same where the
libraries and the kind of processor are; what differs between the environments is named.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trackline import artifacts, config, records
from trackline.errors import DataError

if TYPE_CHECKING:
    from trackline.registry import Store, Version

COMPARED = ("model.safetensors", "model.yaml", "profile.json")


def reproduce(store: Store, version: Version, folder: Path, root: Path = Path()) -> dict[str, Any]:
    """Train the version again in a new `folder`; returns hashes, and what differs in the environment.

    `root` is a clone of the project. Raises DataError when code or data cannot be had, PackageError
    when the registered version was altered.
    """
    from trackline import registry

    package = registry.fetch_to_cache(store, version.version, root) / "model"
    lineage = artifacts.read_json(package / "lineage.json")
    revision = find_revision(root, package, lineage["git"])
    _say(f"checking out {revision[:10]} to {folder}")
    check_out(root, revision, folder)
    confirm_data(folder, lineage["data"]["dvc_md5"])
    confirm_params(folder, lineage["params"])
    _say("bringing its data, and training")
    # whoever is champion is asked for in the registry of the project, not of the new folder
    train(folder, {"MLFLOW_TRACKING_URI": store.uri})
    result = compare(package, folder / "artifacts/model")
    return {"name": version.name, "version": version.version, "revision": revision, **result}


def find_revision(root: Path, package: Path, git: dict[str, Any]) -> str:
    """The commit to make a package from; raises DataError when none holds what it was trained on.

    That is the first whose dvc.lock names the package: people train, look, and commit then. Without one
    it is the commit that was trained on, if nothing was changed there.
    """
    found = _run(
        root, "git", "log", "--all", "--format=%H", "-S", hash_folder(package), "--", "dvc.lock"
    )
    if found:
        return found.split()[-1]
    if git["revision"] and not git["changed"]:
        return str(git["revision"])
    trained = f"on changes to {git['revision'][:10]}" if git["revision"] else "outside git"
    raise DataError(
        f"it was trained {trained} and no commit of this clone has a dvc.lock that names it; fetch the "
        "branch it was pushed to, and commit dvc.lock with what you register"
    )


def hash_folder(folder: Path) -> str:
    """The hash by which DVC names a folder in dvc.lock."""
    names = sorted(p.relative_to(folder).parts for p in folder.rglob("*") if p.is_file())
    entries = [
        {
            "md5": hashlib.md5(folder.joinpath(*name).read_bytes()).hexdigest(),
            "relpath": "/".join(name),
        }
        for name in names
        if name != (artifacts.SIGNATURE,)  # added when it was registered
    ]
    return f"{hashlib.md5(json.dumps(entries, sort_keys=True).encode()).hexdigest()}.dir"


def check_out(root: Path, revision: str, folder: Path) -> None:
    """Place a revision in a new folder, with this project's remotes and its cache of data."""
    _run(root, "git", "worktree", "add", "--quiet", "--detach", str(folder.resolve()), revision)
    if (root / ".dvc/config.local").exists():
        shutil.copy(root / ".dvc/config.local", folder / ".dvc/config.local")
    cache = _run(root, "dvc", "cache", "dir")
    _run(folder, "dvc", "cache", "dir", "--quiet", "--local", str((root / cache).resolve()))


def discard(root: Path, folder: Path) -> None:
    """Remove a checkout, and git's memory of it."""
    if folder.exists():
        _run(root, "git", "worktree", "remove", "--force", str(folder.resolve()))


def confirm_data(folder: Path, md5: str | None) -> None:
    """Refuse a checkout whose data.dvc names other data than the version."""
    import yaml

    found = yaml.safe_load((folder / "data.dvc").read_text(encoding="utf-8"))["outs"][0].get("md5")
    if found != md5:
        raise DataError(
            f"data.dvc of that commit names {found}, the version was trained on {md5}; bring the data back "
            "as docs/data.md says and train from there"
        )


def confirm_params(folder: Path, params: dict[str, Any]) -> None:
    """Refuse a checkout whose params.yaml differs from the version's."""
    there = config.load(folder / "params.yaml")
    if changed := [k for k, v in params.items() if records.plain(getattr(there, k)) != v]:
        raise DataError(
            f"params.yaml of that commit differs from the version's in {', '.join(changed)}; commit the "
            "parameters with what you register"
        )


def train(folder: Path, environment: dict[str, str]) -> None:
    """Run the pipeline up to the model, the training in any case."""
    _run(folder, "dvc", "repro", "--quiet", "--pull", "drift", **environment)
    again = ("dvc", "repro", "--quiet", "--force", "--single-item", "--no-run-cache", "train")
    _run(folder, *again, **environment)


def compare(registered: Path, made: Path) -> dict[str, Any]:
    """Hashes of the files that have to be the same, and what differs between the environments."""
    artifacts.verify(made)
    files = {
        name: (artifacts.sha256(registered / name), artifacts.sha256(made / name))
        for name in COMPARED
        if (registered / name).exists()
    }
    then, now = (_name_environment(folder) for folder in (registered, made))
    differing = {n: (then.get(n), now.get(n)) for n in now if then.get(n) != now.get(n)}
    identical = all(before == again for before, again in files.values())
    return {"identical": identical, "files": files, "environment": differing}


def describe(result: dict[str, Any]) -> str:
    """What was compared, for people."""
    head = "is the same" if result["identical"] else "could not be made again byte by byte"
    lines = [f"version {result['version']} {head}, from commit {result['revision'][:10]}"]
    lines += [
        f"  {name:<20}{'identical' if then == again else 'DIFFERS'}  {then[:12]} {again[:12]}"
        for name, (then, again) in result["files"].items()
    ]
    lines += [f"  {n:<20}{a} then, {b} now" for n, (a, b) in result["environment"].items()]
    return "\n".join(lines)


def _name_environment(package: Path) -> dict[str, Any]:
    lineage = artifacts.read_json(package / "lineage.json")
    return {**lineage["versions"], "hardware": lineage["hardware"]}


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _run(folder: Path, *command: str, **environment: str) -> str:
    known = {**os.environ, "PYTHONPATH": str(folder.resolve()), **environment}
    done = subprocess.run(
        command, cwd=folder, env=known, text=True, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    if done.returncode:
        reason = " ".join(done.stdout.split())[-300:]
        raise DataError(f"{' '.join(command[:2])} failed in {folder} ({reason})")
    return done.stdout.strip()
