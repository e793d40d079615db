"""The model registry: MLflow's, seen as numbered versions of one model; the only home of mlflow.

The alias `candidate` names what passed the gates last, the alias `champion` what is in use. A registry
that is a SQLite file keeps its artifacts beside it, so that its folder can be moved as a whole.
"""

from trackline.registry.cache import fetch_to_cache, find_cache, locate
from trackline.registry.store import Store, connect, explaining, find_uri, locked
from trackline.registry.versions import (
    CANDIDATE,
    CHAMPION,
    Version,
    add_evidence,
    fetch,
    find_version,
    is_intact,
    list_aliases,
    list_versions,
    read_evidence,
    read_file,
    register,
    resolve,
)

__all__ = [
    "CANDIDATE",
    "CHAMPION",
    "Store",
    "Version",
    "add_evidence",
    "connect",
    "explaining",
    "fetch",
    "fetch_to_cache",
    "find_cache",
    "find_uri",
    "find_version",
    "is_intact",
    "list_aliases",
    "list_versions",
    "locate",
    "locked",
    "read_evidence",
    "read_file",
    "register",
    "resolve",
]
