"""Sequences and annotation files of real data sets, where this machine has them."""

from pathlib import Path

import pytest

REALDATA = Path(__file__).parents[4] / "shared/realdata"


@pytest.fixture(scope="session")
def realdata() -> Path:
    """The folder of real sequences; tests that need it are skipped where it is absent."""
    if not REALDATA.is_dir():
        pytest.skip(f"no real sequences at {REALDATA}")
    return REALDATA
