"""Params: typed, checked, and errors that name the value, the rule and the remedy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from trackline import config, records
from trackline.errors import ConfigError


def test_the_project_s_own_params_load() -> None:
    params = config.load(Path(__file__).parents[1] / "params.yaml")
    assert len(params.data.classes) == 10
    assert params.model.variant == "multitask"


def test_records_survive_the_way_through_yaml() -> None:
    params = config.load(Path(__file__).parents[1] / "params.yaml")
    text = yaml.safe_dump(records.plain(params))
    assert records.parse(config.Params, yaml.safe_load(text)) == params


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"gate": {"min_oa": 0.5}}, "unknown key 'gate.min_oa'; did you mean 'min_ao'"),
        ({"gat": {}}, "unknown key 'gat'; did you mean 'gate'"),
        ({"gate": {"min_ao": 65}}, r"gate.min_ao is 65; it is a fraction in \[0, 1\].*0.65"),
        ({"gate": {"min_ao": "high"}}, "gate.min_ao is 'high'; it must be of type float"),
        ({"train": {"epochs": 2.5}}, "train.epochs is 2.5; it must be of type int"),
        ({"train": {"epochs": True}}, "train.epochs is True; it must be of type int"),
        ({"train": {"epochs": 0}}, "train.epochs is 0; it must be at least 1"),
        ({"train": 3}, "train is 3; it must be a mapping"),
        ({"model": {"variant": "multitsk"}}, "must be one of .*did you mean 'multitask'"),
        ({"model": {"search": {"size": 100, "factor": 4}}}, r"search.size is 100; .* multiple"),
        ({"model": {"search": {"size": 96}}}, "model.search: missing .*'factor'"),
        ({"model": {"elimination": {"keep": [0.7]}}}, "one ratio for each layer"),
        ({"model": {"elimination": {"layers": [3, 6, 12]}}}, "blocks are numbered 0 to 11"),
        ({"model": {"backbone": {"width": 100, "heads": 3}}}, "multiple of the number of heads"),
        ({"model": {"elimination": {"layers": [6, 3, 9]}}}, "name each layer once, in order"),
        ({"model": {"elimination": {"keep": [0.7, 0, 1]}}}, "must keep more than nothing"),
        ({"model": {"backbone": {"width": 15, "heads": 3}}}, "it must be even"),
        ({"model": {"head": "center"}}, "did you mean 'centre'"),
        ({"model": {"reference_compat": ["flip"]}}, "did you mean 'flips'"),
        ({"model": {"reference_compat": "all"}}, "it must be a list"),
        ({"model": {"history": {"first_writes": []}}}, "first_writes is empty"),
        ({"data": {"classes": ["car", "car"]}}, "names a class twice"),
        ({"data": {"classes": "car"}}, "data.classes is 'car'; it must be a list"),
    ],
)
def test_what_cannot_be_meant_is_refused(raw: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        records.parse(config.Params, raw)


def test_a_fusion_width_that_cannot_be_added_is_refused_with_the_reason() -> None:
    with pytest.raises(ConfigError, match=r"256.*768 wide.*cannot be added"):
        records.parse(config.Params, {"model": {"variant": "fusion", "fusion_width": 256}})


@pytest.mark.parametrize(
    ("given", "mimicked"), [(True, "mask crop"), (False, ""), (["crop"], "crop"), ([], "")]
)
def test_all_or_some_quirks_of_the_reference_may_be_asked_for(given: Any, mimicked: str) -> None:
    model = records.parse(config.Model, {"reference_compat": given})
    quirks: tuple[config.Quirk, ...] = ("mask", "crop")
    assert [q for q in quirks if model.mimics(q)] == mimicked.split()


def test_exponents_without_a_point_are_numbers() -> None:
    """YAML 1.1 reads 1e-4 as text; nobody who writes it means text."""
    assert records.parse(config.Params, {"train": {"lr": "1e-4"}}).train.lr == 1e-4


@pytest.mark.parametrize("text", ["a: [", "\tx: 1", "- 1\n- 2", "!!python/object:os.system {}"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(ConfigError):
        config.load(tmp_path / "params.yaml")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        config.load(tmp_path / "params.yaml")


def test_the_memory_is_written_as_the_reference_writes_it() -> None:
    """Frames 5 and 10, then every twentieth (hiptrack, MODEL.MAX_MEM 150)."""
    history = config.History()
    assert [i for i in range(1, 61) if history.writes(i)] == [5, 10, 20, 40, 60]
    assert history.template_until == 10
