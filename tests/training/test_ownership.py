"""Lines that only one variant runs, found by running."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from trackline import config
from trackline.training.ownership import count_owned_lines, find_owned

SOURCE = '''def plain(x):
    if x:
        y = (
            1,
            2,
        )
    return x


class Mine:
    """Words."""

    def run(self):
        # a remark

        return 1
'''


def test_statements_count_whole_and_heads_only_where_all_inside_is_owned(tmp_path: Path) -> None:
    path = tmp_path / "m.py"
    path.write_text(SOURCE)
    assert find_owned(path, {2, 3, 4, 5, 7}, {2, 7}) == {3, 4, 5, 6}
    assert find_owned(path, {2, 3, 16}, {2, 3, 7}) == {10, 13, 16}
    assert find_owned(path, {2, 7}, {2, 7}) == set()


def test_the_plain_tracker_owns_nothing_and_fusion_more_than_multitask(
    miniature: config.Params,
) -> None:
    counts = {
        v: count_owned_lines(replace(miniature.model, variant=v))
        for v in ("tracking", "multitask", "fusion")
    }
    assert counts["tracking"] == 0
    assert 10 < counts["multitask"] < counts["fusion"] < 100
