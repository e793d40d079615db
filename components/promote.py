"""Promote: make a registered version the champion.

Reads the registry and champion.json; moves the alias `champion`, adds a line to registry/audit.jsonl
and pins the new champion in champion.json, which is committed in git. The version's package must be
intact and its verdict must hold: same thresholds, same evaluation code, judged against the present
champion. A version that was champion before may return whatever changed since, if it is intact.

exit codes: 0 promoted, 2 refused: its verdict does not hold, 3 params.yaml, 20 no such version, the
registry cannot be used or has another champion than champion.json, 21 its package was altered
"""

from __future__ import annotations

import sys
from pathlib import Path

from trackline import champion, config
from trackline.commandline import Parser, exit_code


def promote(params: config.Params, number: int, pin: Path, why: str = "") -> champion.Pin:
    """Run the step; returns the pin before it. Raises GateRefused, RegistryError or PackageError."""
    from trackline import registry

    before = champion.read_pin(pin)
    root = pin.resolve().parent
    store = registry.connect(params.registry, root)
    version = registry.find_version(store, number)
    folder = registry.fetch_to_cache(store, number, root)
    verdict = confirm(folder, before, params.gate, champion.was_champion(version))
    champion.write_pin(pin, champion.promote(store, number, before.version, why, verdict))
    return before


def confirm(folder: Path, before: champion.Pin, thresholds: config.Gate, returns: bool) -> str:
    """Refuse a version whose verdict does not hold; give the verdict in words.

    For a version that `returns` only what describes the model itself is compared.
    """
    from trackline.evaluation import verdict

    evaluation = folder / "evaluation"
    files = verdict.Judged(
        folder / "model", evaluation / "evaluate.json", evaluation / "predictions.parquet"
    )
    bound = verdict.bind(files, before.sha256, thresholds)
    names = verdict.OF_THE_MODEL if returns else tuple(verdict.BOUND)
    found = verdict.confirm(evaluation / "gate.json", bound, names)
    verdict.refuse_rejected(found, evaluation / "gate.json")
    return f"{found['verdict']} ({found['comparison']}), {found[verdict.SEAL][:12]}"


def main(argv: list[str] | None = None) -> int:
    """Run the step from the command line."""
    parser = Parser(prog="python -m components.promote", description=__doc__)
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--version", type=int, required=True, help="the version to promote")
    parser.add_argument("--reason", default="", help="why, for the audit trail")
    parser.add_argument("--champion", type=Path, default=champion.PIN)
    given = parser.parse_args(argv)

    def run() -> None:
        params = config.load(given.params)
        before = promote(params, given.version, given.champion, given.reason)
        was = "there was none" if before.version is None else f"it was version {before.version}"
        print(f"{params.registry.name} version {given.version} is the champion ({was})")
        print(f"wrote {given.champion}; commit it, and the next run compares with this model")

    return exit_code(run)


if __name__ == "__main__":
    sys.exit(main())
