"""Real services on this machine, started when a test first asks and stopped with the last."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.services.servers import (
    BUCKET,
    running_mlflow,
    running_moto,
    running_postgres,
    running_swift,
)


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """The address of a mock of S3 with one bucket, up within a second."""
    with running_moto() as address:
        yield address


@pytest.fixture(scope="session")
def swift(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real server that speaks S3 and checks keys, with one bucket."""
    with running_swift(tmp_path_factory.mktemp("swift")) as address:
        yield address


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The address of a database of a PostgreSQL server."""
    with running_postgres() as address:
        yield address


@pytest.fixture(scope="session")
def mlflow_server(
    postgres: str, swift: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The address of an MLflow server over PostgreSQL and S3, so that clients need no keys."""
    folder = tmp_path_factory.mktemp("mlflow")
    with running_mlflow(postgres, f"s3://{BUCKET}/models", swift, folder) as address:
        yield address
