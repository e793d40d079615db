"""The evaluation report: one page that opens from disk, with the verdict first and then the reasons."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import astuple, dataclass, field
from numbers import Real
from pathlib import Path
from typing import Any

import pandas as pd

from trackline import artifacts
from trackline.evaluation import figures, metrics, slices, strips
from trackline.evaluation.intervals import find_gain_interval
from trackline.evaluation.statistics import UNKNOWN, bootstrap_mean

NAMES = {
    "ao": "Average overlap",
    "gain_over_static": "Gain over the static box",
    "template_gain": "Gain from the right template",
    "sequence_accuracy": "Sequence accuracy",
    "champion_ao": "Overlap against the champion",
    "champion_accuracy": "Accuracy against the champion",
    "sr50": "Success rate at 0.50",
    "sr75": "Success rate at 0.75",
    "success_auc": "Area under success",
    "precision_20": "Precision at 20 px",
    "norm_precision_auc": "Normalised precision",
    "accuracy_given_iou50": "Accuracy of good boxes",
    "joint_accuracy": "Box and class together",
    "ece": "Calibration error, class",
    "box_ece": "Calibration error, box",
    "failures_per_1000": "Failures in 1 000 frames",
    "centre_bias_px": "Bias of the centre (px)",
    "latency_ms": "Latency (ms)",
    "size_mb": "Size (MB)",
    "slices_ao": "Overlap, slice by slice",
    "slices_accuracy": "Accuracy, slice by slice",
    "slices_champion": "Slices against the champion",
}
TILES = {
    "ao": ("Average overlap", "mean IoU over frames"),
    "sr50": ("Success rate at 0.50", "frames with IoU above a half"),
    "sr75": ("Success rate at 0.75", "frames with a tight box"),
    "precision_20": ("Precision at 20 px", "frames with the centre that close"),
    "sequence_accuracy": ("Sequence accuracy", "sequences named rightly"),
    "joint_accuracy": ("Box and class together", "frames with both right"),
    "failures_per_1000": ("Failures", "in 1 000 frames"),
    "latency_ms": ("Latency", "ms a frame, one stream"),
}
CONTROLS = {"CSRT": "csrt", "Wrong template": "wrong_template", "Static box": "static"}
MOST_ROWS = 500  # sequences in the table; the worst, where there are more


Row = tuple[str, Any, str]  # of a comparison: name, number, meaning


@dataclass(frozen=True)
class Inputs:
    """All that the page tells; the tables of predictions are those of metrics.match.

    `metrics` and `gate` are the contents of the files of these names, `truth` the annotation table,
    `root` the data folder, `training` has a row for each epoch, `champion` is None at first, `slices`
    is of slices.summarise, `baselines` are the curves of success and precision as evaluate writes them.
    """

    metrics: Mapping[str, Any]
    gate: Mapping[str, Any]
    matched: pd.DataFrame
    truth: pd.DataFrame
    root: Path
    training: pd.DataFrame
    classes: tuple[str, ...]
    lineage: Mapping[str, Any]
    champion: pd.DataFrame | None = None
    slices: pd.DataFrame = field(default_factory=pd.DataFrame)
    baselines: tuple[pd.DataFrame, ...] = ()


def write_report(out: Path, inputs: Inputs) -> None:
    """Write the page to `out`, usually reports/index.html: self-contained, below 8 MB."""
    import jinja2
    from plotly.offline import get_plotlyjs

    here = Path(__file__).parent
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([here, here.parent]), autoescape=True, trim_blocks=True
    )
    environment.filters |= {
        "number": _show_number,
        "gap": _show_gap,
        "end": _show_end,
        "value": _show_value,
    }
    page = environment.get_template("report.html.j2")
    artifacts.write_text(out, page.render(**_tell(inputs), plotly=get_plotlyjs()))


def _tell(inputs: Inputs) -> dict[str, Any]:
    """Gather what the template needs, as plain data."""
    checks = [_title(check) for check in inputs.gate["checks"]]
    story = {
        "gate": dict(inputs.gate),
        "checks": checks,
        "failed": [check for check in checks if not check["passed"]],
        "metrics": dict(inputs.metrics),
        "tiles": _fill_tiles(inputs.metrics),
        "comparisons": _compare(inputs),
        "strips": _cut_strips(inputs),
        "sequences": _list_sequences(inputs),
        "slices": _list_slices(inputs).to_dict("records"),
        "charts": _draw(inputs),
        "lineage": _trace(inputs),
    }
    # JSON has no NaN: what is not a number is nothing
    return dict(json.loads(json.dumps(story, default=_to_plain), parse_constant=lambda _: None))


def _to_plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else str(value)


def _title(check: Mapping[str, Any]) -> dict[str, Any]:
    name = check["name"]
    title = NAMES.get(name, name.replace("_", " ").capitalize())
    unknown = dict.fromkeys(("value", "threshold", "low", "high"))
    why = re.sub(r"(?<![\w.-])-(?=\d)", "−", check["why"])
    return {**unknown, **check, "title": title, "why": why, "scale": _place_on_scale(check)}


def _fill_tiles(numbers: Mapping[str, Any]) -> list[tuple[str, str, float, Any, Any]]:
    """Title, meaning, value and the ends of its interval, None where it has none."""
    known = {name: text for name, text in TILES.items() if _is_number(numbers.get(name))}
    return [
        (title, meaning, numbers[n], numbers.get(f"{n}_low"), numbers.get(f"{n}_high"))
        for n, (title, meaning) in known.items()
    ]


def _place_on_scale(check: Mapping[str, Any]) -> dict[str, float] | None:
    """Positions in percent of a check's value, interval and threshold between two ends, or None."""
    numbers = {
        k: check[k] for k in ("value", "threshold", "low", "high") if _is_number(check.get(k))
    }
    if not {"value", "threshold"} <= numbers.keys():
        return None
    reach = 1.2 * max(map(abs, numbers.values()))
    largest = reach if check.get("at_most") else max(1, reach / 1.2)
    first, last = (0, largest) if min(numbers.values()) >= 0 else (-reach, reach)
    places = {k: round(100 * (v - first) / (last - first), 2) for k, v in numbers.items()}
    ends = {"low": places["value"], "high": places["value"], "first": first, "last": last}
    return {**ends, **places, **({"zero": 50.0} if first < 0 else {})}


def _compare(inputs: Inputs) -> list[dict[str, Any]]:
    """Put the model's two main numbers beside those of simpler means, each with what it is."""
    ours, champion = inputs.metrics, _summarise_champion(inputs)
    checks = {check["name"]: check for check in inputs.gate["checks"]}
    gaps = _find_gaps(inputs.matched, checks.get("champion_ao", {}))
    groups = [("Where is it?", "average overlap", "ao", _list_boxes(ours, champion))]
    if _is_number(ours.get("sequence_accuracy")):
        rows = _list_classes(ours, champion, len(inputs.classes))
        groups.append(("What is it?", "sequence accuracy", "sequence_accuracy", rows))
    return [
        {
            "question": question,
            "unit": unit,
            "check": checks.get(name, {}),
            "rows": [
                (*row, gaps.get(row[0]) if name == "ao" else None)
                for row in rows
                if _is_number(row[1])
            ],
        }
        for question, unit, name, rows in groups
    ]


def _find_gaps(matched: pd.DataFrame, champion: Mapping[str, Any]) -> dict[str, tuple[float, ...]]:
    """How far this model's overlap lies above that of others, paired: value, low and high."""
    scored = metrics.select_scored(matched)
    known = (champion.get(name) for name in ("value", "low", "high"))
    against = tuple(end for end in known if _is_number(end))
    return ({"Champion": against} if len(against) == 3 else {}) | {
        title: astuple(gap)
        for title, control in CONTROLS.items()
        if _is_number((gap := find_gain_interval(scored, control, bootstrap_mean)).low)
    }


def _list_boxes(ours: Mapping[str, Any], champion: Mapping[str, Any]) -> list[Row]:
    fps = ours.get("csrt_fps")
    speed = f", at {fps:.0f} frames per second" if _is_number(fps) else ""
    blind = "this model, shown another sequence's target: what it follows without knowing what"
    return [
        ("This model", ours.get("ao"), "follows the target from its first box"),
        ("Champion", champion.get("ao"), "the model in use, on the same frames"),
        ("CSRT", ours.get("ao_csrt"), f"OpenCV's best tracker without learning{speed}"),
        ("Wrong template", ours.get("ao_wrong_template"), blind),
        ("Static box", ours.get("ao_static"), "the first box, never moved"),
    ]


def _list_classes(ours: Mapping[str, Any], champion: Mapping[str, Any], classes: int) -> list[Row]:
    mean, linear = "sequence_accuracy", "a linear classifier that sees only"
    return [
        ("This model", ours.get(mean), "the most probable class over a sequence"),
        ("Champion", champion.get(mean), "the model in use, on the same frames"),
        ("Box shape", ours.get("shape_accuracy"), f"{linear} size and aspect of the true box"),
        ("Colours", ours.get("colour_accuracy"), f"{linear} the colours inside the true box"),
        ("Chance", 1 / max(1, classes), f"a guess among {classes} classes"),
    ]


def _summarise_champion(inputs: Inputs) -> dict[str, Any]:
    if inputs.champion is None:
        return {}
    columns = [name for name in inputs.champion if str(name).startswith("p_")]
    classes = [str(name).removeprefix("p_") for name in columns]  # its own, which may differ
    return dict(metrics.summarise(inputs.champion, classes))


def _cut_strips(inputs: Inputs) -> list[dict[str, Any]]:
    chosen = strips.choose_sequences(inputs.matched, inputs.classes)
    total = inputs.matched["sequence"].nunique()
    return [
        {
            "label": row["label"],
            "rank": row["rank"],
            "note": row["note"],
            "mean_iou": row["mean_iou"],
            "total": total,
            **strips.cut_strip(inputs.root, inputs.truth, inputs.matched, row["sequence"]),
        }
        for row in chosen.to_dict("records")
    ]


def _list_sequences(inputs: Inputs) -> list[dict[str, Any]]:
    """One row a sequence, worst overlap first, with the champion's beside it where there is one."""
    table = metrics.summarise_sequences(inputs.matched, inputs.classes)
    if inputs.champion is not None:
        champion = metrics.summarise_sequences(inputs.champion, ())
        table["champion"] = table["sequence"].map(champion.set_index("sequence")["mean_iou"])
    if "predicted" in table:
        table["right"] = table["predicted"] == table["label"]
    rows = table.nsmallest(MOST_ROWS, "mean_iou")
    return [{str(k): v for k, v in row.items()} for row in rows.to_dict("records")]


def _list_slices(inputs: Inputs) -> pd.DataFrame:
    """The slices, with the champion's overlap beside them where there is one."""
    if inputs.champion is None or inputs.slices.empty:
        return inputs.slices
    truth = inputs.truth[inputs.truth["sequence"].isin(inputs.champion["sequence"])]
    theirs = slices.summarise(inputs.champion, truth, bootstrap=lambda *_: UNKNOWN)
    return inputs.slices.merge(
        theirs[["kind", "slice", "ao"]].rename(columns={"ao": "champion"}),
        on=["kind", "slice"],
        how="left",
    )


def _trace(inputs: Inputs) -> dict[str, Any]:
    """The lineage with code and data first, and what the verdict is bound to."""
    lineage = dict(inputs.lineage)
    nested = {
        f"{name}_{k}": v for name in ("git", "data") for k, v in lineage.pop(name, {}).items()
    }
    judged = {"verdict_bound_to": inputs.gate["bound"]} if "bound" in inputs.gate else {}
    speed = inputs.metrics.get("fps")
    spent = {"evaluation_frames_per_second": speed} if _is_number(speed) else {}
    return {**nested, **lineage, **spent, **judged}


def _draw(inputs: Inputs) -> dict[str, figures.Figure]:
    """Make every chart that the inputs have something for."""
    champion = {} if inputs.champion is None else {"champion": inputs.champion}
    models = {"this model": inputs.matched, **champion}
    simple = dict(zip(("success", "precision"), inputs.baselines, strict=False))
    charts = {
        "success": figures.draw_success(models, simple.get("success", pd.DataFrame())),
        "precision": figures.draw_precision(models, simple.get("precision", pd.DataFrame())),
        "slices": figures.draw_slices(_list_slices(inputs)),
        "reliability": figures.draw_reliability(inputs.matched),
        "classes": figures.draw_classes(inputs.matched, inputs.slices),
        "confusion": figures.draw_confusion(inputs.matched),
    }
    if len(inputs.training):
        charts["losses"] = figures.draw_losses(inputs.training)
        charts["learning"] = figures.draw_learning(inputs.training)
    return {name: figure for name, figure in charts.items() if figure}


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _show_number(value: Any, digits: int = 3) -> str:
    if not _is_number(value):
        return "–"
    shown = f"{value:.1f}" if abs(value) >= 10 else f"{value:.{digits}f}"
    return shown.replace("-", "−")


def _show_gap(gap: list[float]) -> str:
    value, low, high = (f"{v:+.3f}".replace("-", "−") for v in gap)
    return f"{value} [{low}, {high}]"


def _show_end(value: float) -> str:
    return f"{float(f'{value:.2g}'):g}".replace("-", "−")


def _show_value(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_show_value, value))
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "–"}[value]
    return f"{value:.6g}" if isinstance(value, float) else str(value)
