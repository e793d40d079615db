"""The registry by hand: what people and programs see of versions, and what they are refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from components import gate, promote, register
from trackline import artifacts, cli, config, registry
from trackline.registry import inventory

if TYPE_CHECKING:
    from tests.components.conftest import Project


@pytest.fixture
def released(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project with two versions, of which the first is the champion."""
    monkeypatch.setattr("trackline.models.package.load", lambda _: None)  # no real network here
    for shift, weights in ((0.0, "first"), (0.05, "second")):
        project.evaluate(shift, weights)
        gate.main([])
        register.main([])
        if weights == "first":
            promote.main(["--version", "1", "--reason", "a start"])
    return project


def ask(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:
    """Run `trackline registry … --json`; returns what it printed."""
    capsys.readouterr()
    assert cli.main(["registry", *arguments, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def read(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    """Run `trackline registry …`; returns what it printed for people."""
    capsys.readouterr()
    assert cli.main(["registry", *arguments]) == code
    printed = capsys.readouterr()
    return printed.out + printed.err


def test_list_has_a_line_a_version(released: Project, capsys: pytest.CaptureFixture[str]) -> None:
    rows = ask(capsys, "list")
    assert [(row["version"], row["aliases"]) for row in rows] == [
        (2, ["candidate"]),
        (1, ["champion"]),
    ]
    assert rows[0]["ao"] == pytest.approx(0.85, abs=0.02)
    assert "champion" in read(capsys, "list").splitlines()[2]


def test_show_tells_verdict_origin_and_history(
    released: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = ask(capsys, "show", "champion")
    assert shown["version"] == 1
    assert {"verdict", "verdict_seal_sha256", "params_sha256", "git.revision", "data.dvc_md5",
            "drift", "registered_by"} <= shown["tags"].keys()  # fmt: skip
    assert {check["name"] for check in shown["checks"]} >= {"ao", "data_validated"}
    assert shown["moves"][0]["why"] == "a start"
    lines = read(capsys, "show", "1").splitlines()
    assert [line for line in lines if not line.startswith(" ")][1:] == [
        "gates", "metrics", "as champion", "origin"
    ]  # fmt: skip
    assert any("promotion none -> 1" in line for line in lines)
    assert not any("None" in line for line in lines[: lines.index("origin")])
    assert sum(line.startswith("  ao ") for line in lines) == 2  # the gate, and the metric


def test_a_version_made_of_uncommitted_changes_says_so(
    released: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    version = inventory.summarise(
        store := registry.connect(config.Registry(released.name)), registry.find_version(store, 1)
    )
    assert inventory.tabulate([version | {"git_changed": True}]).endswith(" and changes")


def test_diff_names_what_differs_and_nothing_else(
    released: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = ask(capsys, "diff", "champion", "candidate")
    assert {"metrics.ao", "tags.verdict.weights_sha256"} <= changes.keys()
    assert "tags.git.revision" not in changes
    told = read(capsys, "diff", "1", "2")
    assert re.search(r"^  ao +0\.\d+ -> 0\.8", told, re.M)
    assert "_low" not in told
    assert all(len(word) < 40 for word in told.split())  # hashes are short
    assert ask(capsys, "diff", "1", "1") == {}


def test_fetch_by_alias_places_the_package_and_never_wipes_a_folder(
    released: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    fetched = ask(capsys, "fetch", f"{released.name}@champion", "out")
    assert artifacts.verify(Path(fetched["model"])) == fetched["sha256"]
    assert Path("out/model/model.safetensors").read_text() == "first"
    read(capsys, "fetch", "2", "out")  # what was fetched before may be replaced
    assert Path("out/model/model.safetensors").read_text() == "second"
    Path("mine").mkdir()
    Path("mine/thesis.txt").write_text("precious")
    assert "is not empty" in read(capsys, "fetch", "2", "mine", code=64)
    assert Path("mine/thesis.txt").read_text() == "precious"


def test_verify_finds_every_altered_version_by_file(
    released: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask(capsys, "verify")["faults"] == []
    store = registry.connect(config.Registry(released.name))
    run = store.home / "artifacts" / registry.find_version(store, 1).run_id / "artifacts"
    weights = run / "model/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    text = read(capsys, "verify", code=21)
    assert "version 1  ALTERED" in text
    assert "version 2  intact" in text
    assert "model.safetensors" in text
    assert read(capsys, "verify", "candidate").startswith(f"{released.name} version 2  intact")


def test_verify_finds_a_champion_that_was_moved_past_the_gate(
    released: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    store = registry.connect(config.Registry(released.name))
    store.client.set_registered_model_alias(released.name, "champion", "2")
    assert "somebody moved it past the gate" in read(capsys, "verify", "1", code=21)
    assert read(capsys, "promote", "1").startswith(f"{released.name} version 1 is the champion")
    assert inventory.verify_journal(store) == []


def test_the_audit_trail_tells_the_whole_story(
    released: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTOR", "ada")
    monkeypatch.setenv("GITHUB_SERVER_URL", "https://example.org")
    monkeypatch.setenv("GITHUB_REPOSITORY", "team/tracker")
    monkeypatch.setenv("GITHUB_RUN_ID", "42")
    gate.main([])
    register.main([])
    read(capsys, "promote", "candidate", "--reason", "follows better")
    read(capsys, "rollback", "--reason", "slower")
    trail = ask(capsys, "audit")
    assert [(m["kind"], m["from"], m["to"], m["why"]) for m in trail] == [
        ("promotion", None, 1, "a start"),
        ("promotion", 1, 2, "follows better"),
        ("rollback", 2, 1, "slower"),
    ]
    assert trail[1]["who"] == "ada (https://example.org/team/tracker/actions/runs/42)"
    assert trail[1]["verdict"].startswith("accepted (better)")
    assert "rollback      2 -> 1" in read(capsys, "audit")


def test_without_a_registry_nothing_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert "there is no registry at" in read(capsys, "list", code=20)
    assert list(tmp_path.iterdir()) == []
