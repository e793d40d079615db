"""The registry by hand: list and compare versions, fetch and verify them, promote and roll back.

A version is named by its number, an alias (candidate, champion), or in full: models:/NAME@champion,
models:/NAME/3. Every command takes --json and then prints one JSON document.

exit codes: 0 done, 2 refused by the gates, or not the same when made again, 3 params.yaml, 10 code or
data to make it again cannot be had, 20 no such version, registry out of reach or the champion was moved
by somebody else, 21 something was altered, 64 the command line is wrong
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trackline import champion, config
from trackline.commandline import Parser, exit_code
from trackline.errors import GateRefused, PackageError, UsageError

if TYPE_CHECKING:
    from trackline.registry import Store

Printed = tuple[Any, str]  # for programs, for people


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `trackline registry`."""
    parser.description = __doc__
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def add(
        name: str, run: Callable[[argparse.Namespace], Printed], help_: str
    ) -> argparse.ArgumentParser:
        made: argparse.ArgumentParser = commands.add_parser(name, help=help_, description=help_)
        made.add_argument("--json", action="store_true", help="print JSON for programs")
        made.add_argument("--params", type=Path, default=Path("params.yaml"))
        made.set_defaults(command=lambda given: _print(run(given), given.json))
        return made

    add("list", _list, "all versions, the newest first")
    add("show", _show, "all about one version").add_argument("version", help="number or alias")
    diff = add("diff", _diff, "what differs between two versions")
    diff.add_argument("a")
    diff.add_argument("b")
    fetch = add("fetch", _fetch, "place a version at DIR/model, its evidence at DIR/evaluation")
    fetch.add_argument("version", help="as tracker@champion or models:/tracker/3")
    fetch.add_argument("folder", type=Path, metavar="DIR")
    verify = add("verify", _verify, "fetch versions and check sums, verdict, champion and journal")
    verify.add_argument("versions", nargs="*", help="numbers or aliases; none: all")
    add("audit", _audit, "every promotion and rollback")
    again = add("reproduce", _reproduce, "make a version again from its number, and compare sums")
    again.add_argument("version", help="number or alias")
    again.add_argument("--folder", type=Path, help="work in this new folder, and keep it")
    promote = add("promote", _promote, "make a version the champion, if its gates hold today")
    promote.add_argument("version", help="number or alias")
    rollback = add("rollback", _roll_back, "return to the champion before this one")
    rollback.add_argument("--to", type=int, help="an earlier champion than the one before")
    for command in (promote, rollback):
        command.add_argument("--reason", default="", help="why, for the audit trail")
        command.add_argument("--champion", type=Path, default=champion.PIN, help="the pin")


def _print(printed: Printed, as_json: bool) -> int:
    content, text = printed
    print(json.dumps(content, indent=2, ensure_ascii=False, default=str) if as_json else text)
    if not isinstance(content, dict):
        return 0
    if content.get("identical") is False:
        return GateRefused.exit_code
    return PackageError.exit_code if content.get("faults") else 0


def _open(given: argparse.Namespace) -> Store:
    from trackline import registry

    settings = config.load(given.params).registry if given.params.exists() else config.Registry()
    return registry.connect(settings, create=False)


def _find(store: Store, reference: str) -> tuple[Store, Any]:
    from trackline import registry

    store, which = registry.resolve(store, reference)
    return store, registry.find_version(store, which)


def _list(given: argparse.Namespace) -> Printed:
    from trackline import registry
    from trackline.registry import inventory

    store = _open(given)
    rows = [inventory.summarise(store, version) for version in registry.list_versions(store)]
    return rows, inventory.tabulate(rows) or f"{store.name} has no version in {store} yet"


def _show(given: argparse.Namespace) -> Printed:
    from trackline.registry import inventory

    content = inventory.describe(*_find(_open(given), given.version))
    return content, inventory.tell(content)


def _diff(given: argparse.Namespace) -> Printed:
    from trackline.registry import inventory

    store = _open(given)
    content = inventory.compare(*(inventory.describe(*_find(store, v)) for v in (given.a, given.b)))
    return content, inventory.tell_differences(content) or "the two are the same"


def _fetch(given: argparse.Namespace) -> Printed:
    from trackline import artifacts, registry

    folder: Path = given.folder
    earlier = (folder / "model" / artifacts.SUMS).is_file()
    if folder.exists() and not earlier and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is not empty and no fetched version; name another folder")
    found = registry.fetch(_open(given), given.version, folder)
    content = {"name": found.name, "version": found.version, "sha256": found.sha256,
               "model": str(folder / "model"), "evaluation": str(folder / "evaluation")}  # fmt: skip
    return content, f"{found.name} version {found.version} is in {folder / 'model'}, verified"


def _verify(given: argparse.Namespace) -> Printed:
    from trackline import registry
    from trackline.registry import inventory

    store = _open(given)
    versions = [_find(store, v)[1] for v in given.versions] or registry.list_versions(store)
    findings = [inventory.verify(store, version) for version in versions]
    faults = [*(f for item in findings for f in item["faults"]), *inventory.verify_journal(store)]
    lines = [f"{store.name} version {f['version']}  {'ALTERED' if f['faults'] else 'intact'}"
             for f in findings]  # fmt: skip
    whole = f"{len(lines)} version{'s' * (len(lines) != 1)} and the journal hold"
    end = [f"fault: {fault}" for fault in faults] or [whole]
    return {"versions": findings, "faults": faults}, "\n".join([*lines, *end])


def _audit(given: argparse.Namespace) -> Printed:
    moves = champion.list_moves(_open(given))
    lines = [
        f"{m['when'][:19].replace('T', ' ')}  {m['kind']:<9}  {m['from'] or 'none':>4} -> {m['to']:<4} "
        f"{'' if m['outcome'] == 'done' else '(overtaken) '}{m['who']}: {m['why'] or '-'}  [{m['verdict']}]"
        for m in moves
    ]
    return moves, "\n".join(lines) or "nothing was ever promoted"


def _reproduce(given: argparse.Namespace) -> Printed:
    from tempfile import TemporaryDirectory

    from trackline import reproduction

    found = _find(_open(given), given.version)
    if given.folder:
        content = reproduction.reproduce(*found, given.folder)
        return content, reproduction.describe(content)
    with TemporaryDirectory(prefix="reproduce-") as scratch:
        folder = Path(scratch) / "project"
        try:
            content = reproduction.reproduce(*found, folder)
        finally:
            reproduction.discard(Path(), folder)
    return content, reproduction.describe(content)


def _promote(given: argparse.Namespace) -> Printed:
    from components import promote

    params = config.load(given.params)
    version = _find(_open(given), given.version)[1]
    tree = promote.Tree(given.champion)
    before = promote.promote(params, version.version, tree, given.reason)
    content = {"name": version.name, "from": before.version, "to": version.version}
    return content, promote.describe(before, version.name, version.version, given.champion)


def _roll_back(given: argparse.Namespace) -> Printed:
    from components import promote

    params = config.load(given.params)
    before, after = promote.roll_back(params, promote.Tree(given.champion), given.to, given.reason)
    content = {"name": after.name, "from": before.version, "to": after.version}
    return content, promote.describe(before, after.name, after.version or 0, given.champion)


def main(argv: list[str] | None = None) -> int:
    """Run one command."""
    parser = Parser(prog="trackline registry")
    add_arguments(parser)
    given = parser.parse_args(argv)
    return exit_code(lambda: given.command(given))


if __name__ == "__main__":
    sys.exit(main())
