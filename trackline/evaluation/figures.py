"""The report's charts as plotly figures in plain data.

Colours are names of the page's CSS variables, such as `var(--now)`; the page fills them in, so that
a chart follows its light or dark scheme.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from trackline.evaluation import metrics

Figure = dict[str, Any]

SERIES = {  # name: colour, width, dash
    "this model": ("var(--now)", 3, "solid"),
    "champion": ("var(--then)", 2, "solid"),
    "CSRT": ("var(--good)", 1.5, "dash"),
    "static box": ("var(--faint)", 1.5, "dot"),
}
SIMPLE = {"csrt": "CSRT", "static_box": "static box"}  # columns of the curves that evaluate writes
LOSSES = {
    "Loss/total": ("var(--ink)", 2.5, "solid"),
    "Loss/giou": ("var(--now)", 1.5, "solid"),
    "Loss/l1": ("var(--then)", 1.5, "solid"),
    "Loss/location": ("var(--good)", 1.5, "solid"),
    "Loss/classification": ("var(--bad)", 1.5, "solid"),
}
LEARNING = {"IoU": ("var(--now)", 2.5, "solid"), "Accuracy": ("var(--then)", 2.5, "solid")}
UNIT = (0, 1.05)  # room for the marks at 1
MOST_CLASSES = 25  # more make labels that nobody can read


def draw_success(models: dict[str, pd.DataFrame], simple: pd.DataFrame) -> Figure:
    """The success curve of each matched table: share of frames whose IoU exceeds a threshold.

    `simple` has a column for each baseline, as plots/success.csv has; empty without any.
    """
    found = {name: metrics.curves(matched)["success"] for name, matched in models.items()}
    curves = {name: (curve["threshold"], curve["success"]) for name, curve in found.items()}
    curves |= {SIMPLE[k]: (simple["threshold"], simple[k]) for k in SIMPLE if k in simple}
    lines = [
        _line(f"{name}  {share.mean():.3f}", threshold, share, *SERIES[name])
        for name, (threshold, share) in curves.items()
    ]
    return _figure(lines, _axis("overlap threshold (IoU)"), _axis("share of frames", UNIT))


def draw_precision(models: dict[str, pd.DataFrame], simple: pd.DataFrame) -> Figure:
    """The precision curve of each matched table: share of frames whose centre error is within t.

    `simple` has a column for each baseline, as plots/precision.csv has; empty without any.
    """
    found = {name: metrics.curves(matched)["precision"] for name, matched in models.items()}
    curves = {name: (curve["threshold_px"], curve["precision"]) for name, curve in found.items()}
    curves |= {SIMPLE[k]: (simple["threshold_px"], simple[k]) for k in SIMPLE if k in simple}
    lines = [
        _line(f"{name}  {share.iloc[20]:.3f}", threshold, share, *SERIES[name])
        for name, (threshold, share) in curves.items()
    ]
    figure = _figure(lines, _axis("centre error (pixels)"), _axis("share of frames", UNIT))
    mark = {"type": "line", "x0": 20, "x1": 20, "yref": "paper", "y0": 0, "y1": 1}
    line = {"color": "var(--faint)", "width": 1, "dash": "dot"}
    figure["layout"]["shapes"] = [{**mark, "line": line}]
    return figure


def draw_slices(slices: pd.DataFrame) -> Figure | None:
    """Average overlap of every slice but the classes, with its interval; hollow where too few tell.

    A column `champion` is drawn beside it.
    """
    table = slices[slices["kind"] != "class"] if len(slices) else slices
    if table.empty:
        return None
    table = table.iloc[::-1].assign(few=table["low"].isna())
    table["label"] = [
        _escape(f"{row.kind}: {row.slice} ({row.sequences})") for row in table.itertuples()
    ]
    marks = [
        *([_mark_champion(table)] if "champion" in table else []),
        _mark("enough sequences", table[~table["few"]], "circle"),
        _mark("too few to tell", table[table["few"]], "circle-open"),
    ]
    axis = _axis("", showgrid=False, categoryorder="array", categoryarray=table["label"].tolist())
    figure = _figure([mark for mark in marks if mark["x"]], _axis("average overlap", UNIT), axis)
    return _lay_out(figure, hovermode="closest")


def _mark(name: str, table: pd.DataFrame, symbol: str) -> Figure:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": _numbers(table["ao"]),
        "y": table["label"].tolist(),
        "error_x": _interval(table),
        "marker": {"color": "var(--now)", "size": 10, "symbol": symbol},
        "hovertemplate": "%{y}: %{x:.3f}<extra></extra>",
    }


def _mark_champion(table: pd.DataFrame) -> Figure:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": "champion",
        "x": _numbers(table["champion"]),
        "y": table["label"].tolist(),
        "marker": {"color": "var(--then)", "size": 9, "symbol": "diamond"},
        "hovertemplate": "champion, %{y}: %{x:.3f}<extra></extra>",
    }


def draw_reliability(matched: pd.DataFrame) -> Figure | None:
    """How often a class or a box is right that was said with so much confidence; ideal is the diagonal."""
    tables = {
        "class": metrics.reliability(matched, "class"),
        "box": metrics.reliability(matched, "box"),
    }
    lines = [_dot(name, table) for name, table in tables.items() if len(table)]
    if not lines:
        return None
    corner = pd.Series([0.0, 1.0])
    ideal = {**_line("ideal", corner, corner, "var(--faint)", 1, "dot"), "hoverinfo": "skip"}
    axes = _axis("confidence", UNIT), _axis("share right", UNIT)
    return _lay_out(_figure([*lines, ideal], *axes), hovermode="closest")


def _dot(name: str, table: pd.DataFrame) -> Figure:
    """A reliability curve whose dots are as large as their bins are full."""
    colour = {"class": "var(--then)", "box": "var(--now)"}[name]
    sizes = 6 + 12 * (table["frames"] / table["frames"].max()) ** 0.5
    return {
        **_line(name, table["confidence"], table["right"], colour, 1.5, "solid"),
        "mode": "lines+markers",
        "marker": {"color": colour, "size": _numbers(sizes)},
        "customdata": table["frames"].tolist(),
        "hovertemplate": "said %{x:.2f}, right %{y:.2f}, %{customdata} frames",
    }


def draw_classes(matched: pd.DataFrame, slices: pd.DataFrame) -> Figure:
    """Average overlap (bars) and accuracy (diamonds) of each class, best overlap on top.

    The bars have the intervals of `slices`, where it has some.
    """
    table = metrics.summarise_classes(matched).nlargest(MOST_CLASSES, "frames").sort_values("ao")
    if len(slices):
        known = slices[slices["kind"] == "class"].set_index("slice")[["low", "high"]]
        table = table.join(known, on="label")
    names = [_escape(f"{row.label} ({row.sequences})") for row in table.itertuples()]
    bars = {
        "type": "bar",
        "orientation": "h",
        "name": "average overlap",
        "x": _numbers(table["ao"]),
        "y": names,
        "error_x": _interval(table),
        "marker": {"color": "var(--now)", "opacity": 0.85},
        "hovertemplate": "%{x:.3f}",
    }
    edge = {"color": "var(--paper)", "width": 1.5}
    marks = {
        "type": "scatter",
        "mode": "markers",
        "name": "accuracy per frame",
        "x": _numbers(table["accuracy"]),
        "y": names,
        "marker": {"color": "var(--then)", "size": 11, "symbol": "diamond", "line": edge},
        "hovertemplate": "%{x:.3f}",
    }
    shown = [bars, marks] if table["accuracy"].notna().any() else [bars]
    figure = _figure(shown, _axis("", UNIT), _axis("", showgrid=False))
    return _lay_out(figure, hovermode="y unified", bargap=0.45)


def draw_confusion(matched: pd.DataFrame) -> Figure | None:
    """Of the frames that show one class (a row), the share named as each (a column)."""
    pairs = metrics.curves(matched)["confusion"]
    if pairs.empty:
        return None
    shares = pd.crosstab(pairs["actual"], pairs["predicted"], normalize="index")
    names = sorted(pairs.stack().value_counts().index[:MOST_CLASSES])
    shares = shares.reindex(index=names, columns=names, fill_value=0.0)
    labels = [_escape(name) for name in names]
    cells = {
        "type": "heatmap",
        "x": labels,
        "y": labels,
        "z": shares.round(3).to_numpy().tolist(),
        "zmin": 0,
        "zmax": 1,
        "colorscale": [[0, "var(--card)"], [1, "var(--now)"]],
        "showscale": False,
        "xgap": 2,
        "ygap": 2,
        "hovertemplate": "%{y} named %{x}: %{z:.1%}<extra></extra>",
    }
    columns = _axis("predicted", showgrid=False, tickangle=-45)
    rows = _axis("true", showgrid=False, autorange="reversed")
    figure = _figure([cells, _write_shares(shares, labels)], columns, rows)
    return _lay_out(figure, hovermode="closest")


def _write_shares(shares: pd.DataFrame, labels: list[str]) -> Figure:
    """The percentages in the cells, without their sign, in a colour that reads on the cell's own."""
    values = shares.to_numpy().ravel()
    return {
        "type": "scatter",
        "mode": "text",
        "x": labels * len(labels),
        "y": [label for label in labels for _ in labels],
        "text": [f"{100 * value:.0f}" if value >= 0.005 else "" for value in values],
        "textfont": {
            "size": 11,  # without a percent sign it fits the cells of a phone
            "color": ["var(--paper)" if value > 0.55 else "var(--ink)" for value in values],
        },
        "hoverinfo": "skip",
    }


def draw_losses(training: pd.DataFrame) -> Figure:
    """The loss of each epoch and its parts."""
    lines = [
        _line(name.removeprefix("Loss/"), training["epoch"], training[name], *look)
        for name, look in LOSSES.items()
        if name in training
    ]
    return _figure(lines, _axis("epoch"), _axis("loss", rangemode="tozero"))


def draw_learning(training: pd.DataFrame) -> Figure:
    """Overlap in the search crop and class accuracy of each epoch, on the training samples."""
    lines = [
        _line(name, training["epoch"], training[name], *look)
        for name, look in LEARNING.items()
        if name in training and training[name].notna().any()
    ]
    return _figure(lines, _axis("epoch"), _axis("share", UNIT))


def _line(
    name: str, x: pd.Series[Any], y: pd.Series[Any], colour: str, width: float, dash: str
) -> Figure:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": _numbers(x),
        "y": _numbers(y),
        "line": {"color": colour, "width": width, "dash": dash},
        "hovertemplate": "%{y:.3f}",
    }


def _figure(data: list[Figure], x: Figure, y: Figure) -> Figure:
    layout = {
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "system-ui, sans-serif", "size": 13, "color": "var(--ink)"},
        "margin": {"l": 8, "r": 12, "t": 8, "b": 8},
        "showlegend": False,  # the page writes its own, which wraps as text does
        "hoverlabel": {"bgcolor": "var(--card)", "font": {"color": "var(--ink)"}},
        "hovermode": "x unified",
        "dragmode": False,
        "xaxis": x,
        "yaxis": y,
    }
    return {"data": data, "layout": layout}


def _lay_out(figure: Figure, **changes: Any) -> Figure:
    return {**figure, "layout": {**figure["layout"], **changes}}


def _axis(title: str, limits: tuple[float, float] | None = None, **options: Any) -> Figure:
    return {
        "title": {"text": title, "standoff": 12, "font": {"color": "var(--faint)", "size": 12}},
        "range": limits and list(limits),
        "gridcolor": "var(--line)",
        "zeroline": False,
        "ticks": "",
        "ticklabelstandoff": 6,
        "fixedrange": True,
        "automargin": True,
        **options,
    }


def _interval(table: pd.DataFrame) -> Figure:
    if "low" not in table:
        return {"visible": False}
    return {
        "type": "data",
        "symmetric": False,
        "array": _numbers(table["high"] - table["ao"]),
        "arrayminus": _numbers(table["ao"] - table["low"]),
        "color": "var(--ink)",
        "thickness": 1.2,
        "width": 3,
    }


def _numbers(values: pd.Series[Any]) -> list[float | None]:
    return [None if pd.isna(value) else round(float(value), 4) for value in values]


def _escape(label: Any) -> str:
    """Keep a class name from being read as plotly's markup."""
    return str(label).replace("&", "&amp;").replace("<", "&lt;")
