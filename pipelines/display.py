"""Results as Kubeflow's pages show them: numbers, a ROC curve, a confusion matrix."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from trackline import artifacts

if TYPE_CHECKING:
    import pandas as pd

ROC_POINTS = 101  # a page draws no more; each point is a row of the metadata store


def show_numbers(metrics: Any) -> None:
    """Put the finite numbers of a metrics file beside the file, where the page shows them."""
    for name, value in artifacts.read_json(Path(metrics.path)).items():
        if type(value) in (int, float):
            metrics.log_metric(name, value)


def show_classes(predictions: Path, classes: tuple[str, ...], page: Any) -> None:
    """Log the confusion matrix frame by frame and the ROC of all classes, each against the rest."""
    import pandas as pd

    from trackline.evaluation import metrics

    scored = metrics.select_scored(pd.read_parquet(predictions))
    if not metrics.has_classes(scored):
        artifacts.write_text(Path(page.path), "this tracker names no classes\n")
        return
    counts = pd.crosstab(scored["label"], scored["class"])
    counts = counts.reindex(index=list(classes), columns=list(classes), fill_value=0)
    artifacts.write_text(Path(page.path), counts.to_csv())
    page.log_confusion_matrix(list(classes), counts.to_numpy().tolist())
    page.log_roc_curve(*find_roc(scored, classes))


def find_roc(
    scored: pd.DataFrame, classes: tuple[str, ...]
) -> tuple[list[float], list[float], list[float]]:
    """False and true positive rates and thresholds, micro-averaged over classes and frames."""
    import numpy as np

    chance = scored[[f"p_{name}" for name in classes]].to_numpy().ravel()
    true = (scored["label"].to_numpy()[:, None] == np.array(classes)[None, :]).ravel()
    thresholds = np.linspace(1, 0, ROC_POINTS)
    chosen = chance[None, :] >= thresholds[:, None]
    false_rate = chosen[:, ~true].mean(axis=1) if (~true).any() else np.zeros(ROC_POINTS)
    true_rate = chosen[:, true].mean(axis=1) if true.any() else np.zeros(ROC_POINTS)
    return false_rate.tolist(), true_rate.tolist(), thresholds.tolist()
