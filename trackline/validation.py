"""Judging annotated footage: the rules compute, Great Expectations decides, people read the report."""

from __future__ import annotations

import base64
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from trackline import config, records
from trackline.data import images, rules
from trackline.data.facts import Facts, Values
from trackline.data.frames import Frames, encode
from trackline.data.rules import Rule, Severity
from trackline.data.table import iterate, spell_out
from trackline.data.tiles import draw_tile
from trackline.data.tree import SPLITS
from trackline.errors import ConfigError, EmptyDataError, TracklineError, ValidationError

if TYPE_CHECKING:
    import pandas as pd

QUARANTINE = ("sequence", "frame", "source", "line", "rule", "value", "why", "aside")
CONSEQUENCE = "nothing useful left"  # what quarantine names instead of a rule
KINDS = dict.fromkeys(QUARANTINE, "str") | {"frame": "int32", "line": "int32"}
EXAMPLES = 3  # of each broken rule, in words
PICTURED = 6  # sequences of each split in the report,
STRIP = (0.0, 0.33, 0.67, 1.0)  # seen at these moments
TILE_WH = (160, 120)


@dataclass(frozen=True)
class Finding:
    """What came of one rule: how many of its units (frames, sequences or splits) break it."""

    rule: Rule
    severity: Severity
    reason: str
    count: int
    share: float
    examples: tuple[str, ...]  # "sequence/frame: value"

    @property
    def passed(self) -> bool:
        """Whether nothing breaks the rule."""
        return self.count == 0


@dataclass(frozen=True)
class Aside:
    """What quarantine takes out: a flag for each row, one for each sequence, and why it is too much."""

    mask: np.ndarray[Any, Any]
    sequences: np.ndarray[Any, Any]
    why: str

    @property
    def frames(self) -> int:
        """How many frames are taken out."""
        return int(self.mask.sum())

    @property
    def share(self) -> float:
        """Which share of all frames that is."""
        return float(self.mask.mean())

    @property
    def enough(self) -> bool:
        """Whether the rest may be used."""
        return not self.why


@dataclass(frozen=True)
class Verdict:
    """What came of all rules."""

    table: pd.DataFrame
    findings: tuple[Finding, ...]
    quarantine: pd.DataFrame  # one row for each violation, with the columns of QUARANTINE
    aside: Aside | None = None  # what quarantine took out; None: it is off

    @cached_property
    def failed(self) -> tuple[Finding, ...]:
        """The broken rules that stop the pipeline."""
        return tuple(f for f in self.findings if not f.passed and f.severity == "error")

    @property
    def passed(self) -> bool:
        """Whether the data may be used; warnings do not count, nor what is set aside."""
        return not self.failed if self.aside is None else self.aside.enough

    def tell(self) -> dict[str, Any]:
        """The verdict as plain values for metrics/validate.json."""
        return {
            "passed": self.passed,
            "rows": len(self.table),
            "sequences": int(self.table["sequence"].nunique()),
            "errors": len(self.failed),
            "warnings": sum(not f.passed for f in self.findings) - len(self.failed),
            "quarantined": self.aside.frames if self.aside else 0,
            "quarantined_share": round(self.aside.share, 6) if self.aside else 0.0,
            "splits": count_splits(self.table),
            "rules": [_tell(finding) for finding in self.findings],
        }

    def check(self, report: Path) -> None:
        """Raise the error of the first broken rule, in one sentence; do nothing when all is well."""
        if self.passed:
            return
        if self.aside and self.aside.why:
            raise ValidationError(f"{self.aside.why}; see {report}")
        first, others = self.failed[0], len(self.failed) - 1
        units = f"{first.rule.unit}s" if first.count != 1 else first.rule.unit
        more = f"and {others} other rule{'s' * (others > 1)} failed, " if others else ""
        raise first.rule.error(
            f"{first.count} {units} broke the rule '{first.rule.name}' ({first.reason}), for example "
            f"{first.examples[0]}; {first.rule.remedy}; {more}see {report}"
        )


def validate(
    table: pd.DataFrame, root: Path, limits: config.Validate, classes: tuple[str, ...]
) -> Verdict:
    """Hold an annotation table and its images to every rule; raises EmptyDataError without rows."""
    if table.empty:
        raise EmptyDataError("the annotation table has no rows; add sequences and index again")
    table = _order(table)
    checks = images.check(root, table, limits.image_sample, limits.max_image_mpx)
    facts = Facts(table, checks, limits, classes)
    ignored = {name for name, severity in limits.severity.items() if severity == "ignore"}
    _check_names(limits)
    broken = {r.name: r.find(facts) if r.name not in ignored else _nothing() for r in rules.RULES}
    counts = _judge(facts, broken)
    findings = tuple(_find(rule, facts, broken[rule.name], counts) for rule in rules.RULES)
    listed = _list_violations(facts, findings, broken)
    if not limits.quarantine:
        return Verdict(table, findings, listed)
    aside = set_aside(facts, findings, broken)
    return Verdict(table, findings, mark(listed, table, aside), aside)


def _order(table: pd.DataFrame) -> pd.DataFrame:
    """Sort by split, sequence and frame; what is in order already, as indexed tables are, is not copied."""
    import pandas as pd

    split, name = table["split"], table["sequence"]
    starts = split.ne(split.shift()) | name.ne(name.shift())
    heads = pd.MultiIndex.from_frame(spell_out(table.loc[starts, ["split", "sequence"]]))
    ahead = table["frame"].diff().ge(0) | starts
    if heads.is_monotonic_increasing and heads.is_unique and ahead.all():
        return table.reset_index(drop=True)
    keys = ["split", "sequence", "frame"]
    return spell_out(table).sort_values(keys, kind="stable", ignore_index=True)


def set_aside(facts: Facts, findings: Iterable[Finding], broken: dict[str, Values]) -> Aside:
    """Take out frames and sequences that break an error, and what is of no use without them."""
    limits, codes = facts.limits, facts.codes
    frames = np.zeros(len(facts.table), dtype=bool)
    whole = np.zeros(codes[-1] + 1, dtype=bool)
    for finding in findings:
        at = broken[finding.rule.name].index.to_numpy()
        if finding.severity == "error" and finding.rule.unit == "sequence":
            whole[at] = True
        elif finding.severity == "error" and finding.rule.unit == "frame":
            frames[at] = True
            whole[codes[at]] |= finding.rule.aside == "sequence"
    seen = facts.get("visible").astype(bool) & ~frames
    frames |= (
        np.maximum.accumulate(np.where(seen, facts.first, -1)) < facts.first
    )  # before it is seen
    whole |= np.bincount(codes, seen & ~frames, len(whole)) < limits.min_visible_frames
    frames |= whole[codes]
    left = facts.units["sequence"]["split"][~whole].value_counts()
    small = [s for s in SPLITS if left.get(s, 0) < limits.min_sequences_per_split]
    share = float(frames.mean())
    why = ""
    if share > limits.max_quarantined:
        why = (
            f"{share:.1%} of the frames would be set aside, more than validate.max_quarantined allows "
            f"({limits.max_quarantined:.0%}); mend the data or raise it"
        )
    elif small:
        why = (
            f"after setting aside {share:.1%} of the frames {' and '.join(small)} would have fewer than "
            f"{limits.min_sequences_per_split} sequences; mend the data, or lower "
            "validate.min_sequences_per_split"
        )
    return Aside(frames, whole, why)


def mark(listed: pd.DataFrame, table: pd.DataFrame, aside: Aside) -> pd.DataFrame:
    """Say of each violation what was set aside, and list what went with it."""
    import pandas as pd

    heads = spell_out(table.drop_duplicates("sequence"))
    names = set(heads["sequence"][aside.sequences])
    rest = spell_out(table[aside.mask])
    keys = pd.MultiIndex.from_frame(rest[["sequence", "frame"]])
    gone = listed["sequence"].isin(names)
    frame = pd.MultiIndex.from_frame(listed[["sequence", "frame"]]).isin(keys)
    listed["aside"] = np.where(gone, "sequence", np.where(frame, "frame", ""))
    told = pd.MultiIndex.from_frame(listed[["sequence", "frame"]])
    silent = heads[heads["sequence"].isin(names - set(listed["sequence"]))].assign(aside="sequence")
    rest = rest[~rest["sequence"].isin(names)]
    rest = rest[~pd.MultiIndex.from_frame(rest[["sequence", "frame"]]).isin(told)].assign(
        aside="frame"
    )
    more = pd.concat([silent, rest]).assign(
        rule=CONSEQUENCE,
        value="",
        why="too little of the sequence is left, or the target is not seen yet",
    )
    return pd.concat([listed, more[list(QUARANTINE)]], ignore_index=True).astype(KINDS)


def _check_names(limits: config.Validate) -> None:
    known = [rule.name for rule in rules.RULES]
    for name in limits.severity:
        if name not in known:
            close = get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else "reports/validation.html lists them"
            raise ConfigError(f"validate.severity names {name!r}, which is no rule; {hint}")


def _nothing() -> Values:
    import pandas as pd

    return pd.Series([], dtype="str", index=pd.Index([], dtype="int64"))


def count_splits(table: pd.DataFrame) -> dict[str, dict[str, int]]:
    """Count sequences, frames and classes of each split."""
    counts, names = {}, table[["split", "sequence", "class"]]
    for split in SPLITS:
        rows = names[names["split"] == split]
        counts[split] = {
            "sequences": int(rows["sequence"].nunique()),
            "frames": len(rows),
            "classes": int(rows["class"].nunique()),
        }
    return counts


def render(verdict: Verdict, root: Path) -> str:
    """Draw the report: one HTML page that needs nothing else."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(Path(__file__).parent)
    pages = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    return pages.get_template("validation.html.j2").render(
        verdict=verdict,
        splits=count_splits(verdict.table),
        classes=_count_classes(verdict.table),
        strips=list(_draw_strips(verdict.table, Frames(root, cache_mb=16))),
    )


def _judge(facts: Facts, broken: dict[str, Values]) -> dict[str, int]:
    """Let Great Expectations judge a column of flags for each rule; give the violations it counts."""
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False, metric_calculations=False)
    source = context.data_sources.add_pandas("trackline")
    counts: dict[str, int] = {}
    for unit in facts.units:
        judged = [rule for rule in rules.RULES if rule.unit == unit]
        asset = source.add_dataframe_asset(unit).add_batch_definition_whole_dataframe("all")
        batch = asset.get_batch({"dataframe": _flag(facts, judged, broken)})
        suite = gx.ExpectationSuite(unit, expectations=[_expect(rule) for rule in judged])
        counts |= _read_counts(batch.validate(suite, result_format="BASIC").results)
    return counts


def _flag(facts: Facts, judged: list[Rule], broken: dict[str, Values]) -> pd.DataFrame:
    import pandas as pd

    flags = pd.DataFrame(index=facts.units[judged[0].unit].index)
    return flags.assign(**{rule.name: flags.index.isin(broken[rule.name].index) for rule in judged})


def _expect(rule: Rule) -> Any:
    from great_expectations.expectations import ExpectColumnValuesToBeInSet

    severity = "critical" if rule.severity == "error" else "warning"
    return ExpectColumnValuesToBeInSet(
        column=rule.name, value_set=[False], severity=severity, description=rule.reason
    )


def _read_counts(results: Iterable[Any]) -> dict[str, int]:
    """Read violations by rule; a check that crashed has no count, and its data is not to blame."""
    counts = {}
    for result in results:
        rule = result.expectation_config.kwargs["column"]
        if "unexpected_count" not in result.result:
            raise TracklineError(
                f"Great Expectations could not check the rule '{rule}' ({_tell_crash(result)}); "
                "install the versions of requirements.lock"
            )
        counts[rule] = int(result.result["unexpected_count"])
    return counts


def _tell_crash(result: Any) -> str:
    crash = result.exception_info
    info = crash if "exception_message" in crash else next(iter(crash.values()), {})
    return str(info.get("exception_message"))


def _find(rule: Rule, facts: Facts, broken: Values, counts: dict[str, int]) -> Finding:
    units, count = facts.units[rule.unit], counts[rule.name]
    places = units.loc[broken.index[:EXAMPLES]]
    told = zip(places["sequence"], places["frame"], places["source"], broken, strict=False)
    return Finding(
        rule,
        facts.limits.severity.get(rule.name, rule.severity),
        rule.reason.format(**records.plain(facts.limits)),
        count,
        count / len(units),
        tuple(f"{s}/{f}: {value}" if f >= 0 else f"{at}: {value}" for s, f, at, value in told),
    )


def _list_violations(
    facts: Facts, findings: tuple[Finding, ...], broken: dict[str, Values]
) -> pd.DataFrame:
    import pandas as pd

    parts = [
        facts.units[f.rule.unit]
        .loc[broken[f.rule.name].index, ["sequence", "frame", "source", "line"]]
        .assign(
            rule=f.rule.name,
            value=broken[f.rule.name],
            why=f"{f.reason}; {f.rule.remedy}",
            aside="",
        )
        for f in findings
    ]
    listed = pd.concat(parts, ignore_index=True)
    return listed.astype(KINDS)


def _tell(finding: Finding) -> dict[str, Any]:
    return {
        "name": finding.rule.name,
        "severity": finding.severity,
        "passed": finding.passed,
        "count": finding.count,
        "share": round(finding.share, 6),
        "unit": finding.rule.unit,
        "examples": list(finding.examples),
        "reason": finding.reason,
        "remedy": finding.rule.remedy,
    }


def _count_classes(table: pd.DataFrame) -> list[tuple[str, dict[str, int]]]:
    """Count sequences by class and split, the most common class first."""
    first = table[["sequence", "class", "split"]].drop_duplicates("sequence")
    pairs = Counter(zip(first["class"], first["split"], strict=True))
    order = sorted(Counter(first["class"]).items(), key=lambda item: (-item[1], item[0]))
    return [(name, {split: pairs[name, split] for split in SPLITS}) for name, _ in order]


def _draw_strips(table: pd.DataFrame, frames: Frames) -> Iterable[dict[str, str]]:
    """Picture some sequences of each split, evenly spread over its names."""
    for split in SPLITS:
        names = table.loc[table["split"] == split, "sequence"].unique()
        spread = np.linspace(0, len(names) - 1, min(PICTURED, len(names))).round().astype(int)
        for sequence in iterate(table[table["sequence"].isin(names[spread])], split):
            tiles = [draw_tile(sequence, frames, moment, TILE_WH) for moment in STRIP]
            jpeg = encode(np.hstack(tiles), cv2.IMWRITE_JPEG_QUALITY, 80)
            data = base64.b64encode(jpeg).decode()
            yield {"name": sequence.name, "split": split, "class": sequence.label, "jpeg": data}
