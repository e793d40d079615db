"""Secrets that were planted everywhere and must not come out anywhere."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from trackline.commandline import exit_code
from trackline.errors import RegistryError
from trackline.redaction import redact

SECRET = "wJalrXUtnFEMIbPxRfiCYEXAMPLEKEY"


@pytest.mark.parametrize(
    "text",
    [
        f"http://ada:{SECRET}@mlflow.example.org/api",
        f"postgresql+psycopg2://ada:{SECRET}@db/mlflow",
        f"https://s3/bucket/key?X-Amz-Signature={SECRET}&X-Amz-Date=1",
        f"https://s3/bucket/key?X-Amz-Security-Token={SECRET}",
        f"'Authorization': 'Bearer {SECRET}'",
        f"authorization: Basic {SECRET}",
        f"-----BEGIN EC PRIVATE KEY-----\n{SECRET}\n-----END EC PRIVATE KEY-----",
        f"-----BEGIN PRIVATE KEY-----\n{SECRET}",
    ],
)
def test_secrets_are_known_by_their_form(text: str) -> None:
    assert SECRET not in redact(f"before {text} after")
    assert redact(f"before {text}").startswith("before ")


@pytest.mark.parametrize(
    "name", ["AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_PASSWORD", "GITHUB_TOKEN", "MY_API_KEY"]
)
def test_secrets_of_the_environment_are_known_by_value(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, SECRET)
    assert redact(f"the key {SECRET} was refused") == "the key [hidden] was refused"


@pytest.mark.parametrize(
    "text",
    [
        "models:/tracker@champion",
        "s3://bucket/models/tracker",
        "sqlite:///registry/mlflow.db",
        "see https://example.org/team@3.1 for more",
        "tokens_bnc has 25 tokens",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact(text) == text


def test_nothing_that_a_command_prints_logs_or_raises_has_a_secret(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)

    def command() -> int:
        print("printed", SECRET)
        handler = logging.StreamHandler()
        logging.getLogger("planted").addHandler(handler)
        logging.getLogger("planted").warning("logged %s", SECRET)
        logging.getLogger("planted").removeHandler(handler)
        raise RegistryError(f"refused with {SECRET}")

    assert exit_code(command) == 20
    printed = capsys.readouterr()
    assert "printed [hidden]" in printed.out
    assert "logged [hidden]" in printed.err
    assert "error: refused with [hidden]" in printed.err
    assert SECRET not in printed.out + printed.err


def test_a_traceback_has_no_secret() -> None:
    code = (
        "import os; from trackline.commandline import exit_code\n"
        "def command(): raise ValueError('unexpected ' + os.environ['MY_PASSWORD'])\n"
        "exit_code(command)"
    )
    done = subprocess.run(
        (sys.executable, "-c", code),
        capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1],
        env={"MY_PASSWORD": SECRET, "PATH": "/usr/bin", "PYTHONPATH": "."},
    )  # fmt: skip
    assert done.returncode == 1
    assert "unexpected [hidden]" in done.stderr
    assert SECRET not in done.stderr
