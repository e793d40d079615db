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
    "static box": ("var(--faint)", 1.5, "dot"),
}
LOSSES = {
    "Loss/total": ("var(--ink)", 2.5, "solid"),
    "Loss/giou": ("var(--now)", 1.5, "solid"),
    "Loss/l1": ("var(--then)", 1.5, "solid"),
    "Loss/location": ("var(--good)", 1.5, "solid"),
    "Loss/classification": ("var(--bad)", 1.5, "solid"),
}
LEARNING = {"IoU": ("var(--now)", 2.5, "solid"), "Accuracy": ("var(--then)", 2.5, "solid")}
UNIT = (0, 1.03)
MOST_CLASSES = 25  # more make labels that nobody can read


def draw_success(models: dict[str, pd.DataFrame]) -> Figure:
    """The success curve of each matched table: share of frames whose IoU exceeds a threshold."""
    lines = []
    for name, matched in models.items():
        curve = metrics.curves(matched)["success"]
        label = f"{name}  {curve['success'].mean():.3f}"
        lines.append(_line(label, curve["threshold"], curve["success"], *SERIES[name]))
    return _figure(lines, _axis("overlap threshold (IoU)"), _axis("share of frames", UNIT))


def draw_precision(models: dict[str, pd.DataFrame]) -> Figure:
    """The precision curve of each matched table: share of frames whose centre error is within t."""
    lines = []
    for name, matched in models.items():
        curve = metrics.curves(matched)["precision"]
        label = f"{name}  {curve['precision'].iloc[20]:.3f}"
        lines.append(_line(label, curve["threshold_px"], curve["precision"], *SERIES[name]))
    figure = _figure(lines, _axis("centre error (pixels)"), _axis("share of frames", UNIT))
    mark = {"type": "line", "x0": 20, "x1": 20, "yref": "paper", "y0": 0, "y1": 1}
    line = {"color": "var(--faint)", "width": 1, "dash": "dot"}
    figure["layout"]["shapes"] = [{**mark, "line": line}]
    return figure


def draw_classes(matched: pd.DataFrame) -> Figure:
    """Average overlap (bars) and accuracy (diamonds) of each class, best overlap on top."""
    table = metrics.summarise_classes(matched).nlargest(MOST_CLASSES, "frames").sort_values("ao")
    names = [_escape(f"{row.label} ({row.sequences})") for row in table.itertuples()]
    bars = {
        "type": "bar",
        "orientation": "h",
        "name": "average overlap",
        "x": _numbers(table["ao"]),
        "y": names,
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
    """The percentages in the cells, in a colour that reads on the cell's own."""
    values = shares.to_numpy().ravel()
    return {
        "type": "scatter",
        "mode": "text",
        "x": labels * len(labels),
        "y": [label for label in labels for _ in labels],
        "text": [f"{value:.0%}" if value >= 0.005 else "" for value in values],
        "textfont": {
            "size": 11,
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


def _numbers(values: pd.Series[Any]) -> list[float | None]:
    return [None if pd.isna(value) else round(float(value), 4) for value in values]


def _escape(label: Any) -> str:
    """Keep a class name from being read as plotly's markup."""
    return str(label).replace("&", "&amp;").replace("<", "&lt;")
