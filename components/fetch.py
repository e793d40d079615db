"""Fetch: bring the footage of a DVC revision to this machine, once.

Reads a DVC remote (a folder or s3://bucket/prefix; credentials and AWS_ENDPOINT_URL come from the
environment); writes the footage to OUT/<hash>. What is there already is left alone, so that the steps
of a run which share a volume copy it once, and steps that share none each bring their own.

exit codes: 0 there, 10 the remote cannot be read or does not have that revision
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from trackline.commandline import Parser, exit_code
from trackline.errors import DataError


def fetch(revision: str, remote: str, out: Path) -> Path:
    """Bring the footage whose hash in data.dvc is `revision`; returns its folder below `out`.

    Raises DataError when the remote cannot be read or lacks a file of it.
    """
    folder = out / revision.removesuffix(".dir")
    if folder.is_dir():
        return folder
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=out) as project:
        footage = _pull(Path(project), revision, remote)
        try:
            footage.rename(folder)
        except OSError:
            if not folder.is_dir():  # another step was faster
                raise
    return folder


def _pull(project: Path, revision: str, remote: str) -> Path:
    """Pull into a DVC project that lives as long as this takes."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo
    from dvc_objects.errors import ObjectDBError

    with Repo.init(str(project), no_scm=True) as repo, repo.config.edit() as settings:
        settings["remote"] = {"source": {"url": remote}}
        settings["core"] |= {"remote": "source", "analytics": False}
        settings["cache"]["type"] = ["hardlink", "copy"]
    pointer = project / "footage.dvc"
    pointer.write_text(f"outs: [{{md5: {revision}, hash: md5, path: footage}}]\n")
    try:
        with Repo(str(project)) as repo:
            repo.pull()
    except (DvcException, ObjectDBError, OSError) as error:
        raise DataError(
            f"the data {revision} cannot be had from {remote} ({' '.join(str(error).split())[:200]}); "
            "check the remote and its credentials, or push the data there: dvc push"
        ) from None
    return project / "footage"


def main(argv: list[str] | None = None) -> int:
    """Run the step from the command line."""
    parser = Parser(prog="python -m components.fetch", description=__doc__)
    parser.add_argument("--revision", required=True, help="the hash that data.dvc has under outs")
    parser.add_argument("--remote", required=True, help="folder or s3://bucket/prefix")
    parser.add_argument("--out", type=Path, required=True, help="where revisions are kept")
    given = parser.parse_args(argv)
    return exit_code(lambda: print(fetch(given.revision, given.remote, given.out)))


if __name__ == "__main__":
    sys.exit(main())
