"""The verdict: what was found, where, how to mend it, and a page that shows it."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from trackline import validation
from trackline.config import Validate
from trackline.data import footage
from trackline.data.rules import RULES
from trackline.errors import EmptyDataError, MissingFrameError, TracklineError
from trackline.validation import Verdict

EVIL = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def table(world: Path) -> pd.DataFrame:
    """The sound table of the miniature world, in order."""
    return footage.read_all(world)


@pytest.fixture(scope="module")
def good(table: pd.DataFrame, world: Path) -> Verdict:
    return validation.validate(table, world, Validate(), ())


@pytest.fixture(scope="module")
def spoilt(table: pd.DataFrame) -> pd.DataFrame:
    """One frame without image, six boxes without width, a class that is markup."""
    bad = table.copy()
    steady = bad.groupby("sequence")["visible"].transform("all")
    train = bad.index[steady & (bad["split"] == "train")]
    bad.loc[train[1], "bytes"] = -1
    bad.loc[train[6:12], "w"] = 0.0
    bad.loc[train[6:12], "class"] = EVIL
    return bad


@pytest.fixture(scope="module")
def bad(spoilt: pd.DataFrame, world: Path) -> Verdict:
    return validation.validate(spoilt, world, Validate(), ())


def test_sound_data_pass_every_rule(good: Verdict, table: pd.DataFrame) -> None:
    assert good.passed
    assert [finding.rule for finding in good.findings] == list(RULES)
    assert good.tell()["rows"] == len(table)
    assert good.quarantine.empty
    assert list(good.quarantine.columns) == list(validation.QUARANTINE)
    good.check(Path("reports/validation.html"))


def test_the_error_is_one_sentence_with_count_example_rule_remedy_and_the_rest(
    bad: Verdict, spoilt: pd.DataFrame
) -> None:
    with pytest.raises(MissingFrameError) as raised:
        bad.check(Path("reports/validation.html"))
    broken = spoilt[spoilt["bytes"] < 0].iloc[0]
    assert str(raised.value) == (
        "1 frame broke the rule 'each annotated frame has an image' (a box without its image cannot be "
        f"learned), for example {broken['sequence']}/1: {broken['image']}; restore the image, or delete "
        "the line from the annotation and the label files; "
        "and 1 other rule failed, see reports/validation.html"
    )


def test_every_violation_is_quarantined_and_three_are_shown(
    bad: Verdict, spoilt: pd.DataFrame
) -> None:
    boxes = next(finding for finding in bad.failed if finding.rule.name == "boxes are positive")
    assert boxes.count == 6
    assert boxes.share == pytest.approx(6 / len(spoilt))
    assert len(boxes.examples) == 3
    listed = bad.quarantine[bad.quarantine["rule"] == "boxes are positive"]
    assert listed["frame"].tolist() == [0, 1, 2, 3, 4, 5]
    assert listed["source"].iloc[2].endswith("groundtruth.txt")
    assert listed["line"].iloc[2] == 3
    assert listed["why"].str.startswith("the box x,y,w,h of a visible target").all()


def test_reasons_name_the_limits_in_force(good: Verdict) -> None:
    reasons = {finding.rule.name: finding.reason for finding in good.findings}
    assert "more than 1 px" in reasons["boxes are inside their image"]


def test_the_order_of_rows_does_not_matter(bad: Verdict, spoilt: pd.DataFrame, world: Path) -> None:
    shuffled = spoilt.sample(frac=1, random_state=0)
    assert validation.validate(shuffled, world, Validate(), ()).tell() == bad.tell()


def test_no_rows_are_an_error_of_their_own(table: pd.DataFrame, world: Path) -> None:
    with pytest.raises(EmptyDataError, match="no rows"):
        validation.validate(table.head(0), world, Validate(), ())


def test_a_check_that_crashes_is_not_blamed_on_the_data() -> None:
    import great_expectations as gx

    frames = gx.get_context(mode="ephemeral").data_sources.pandas_default
    batch = frames.read_dataframe(pd.DataFrame({"there": [False]}))
    expectation = gx.expectations.ExpectColumnValuesToBeInSet(column="gone", value_set=[False])
    with pytest.raises(TracklineError, match="could not check the rule 'gone'") as raised:
        validation._read_counts([batch.validate(expectation)])
    assert raised.value.exit_code == 1


def test_the_page_stands_alone_and_trusts_no_text(bad: Verdict, world: Path) -> None:
    page = validation.render(bad, world)
    assert EVIL not in page
    assert "&lt;script&gt;" in page
    assert "http" not in page
    assert page.count("data:image/jpeg;base64,") == 3 * validation.PICTURED


def test_the_page_is_drawn_even_when_no_image_can_be(good: Verdict, tmp_path: Path) -> None:
    assert "Validation" in validation.render(good, tmp_path)
