"""The model card: what a person should know before using a package, written from records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trackline import config
from trackline.models.package import Package

UNANSWERED = "not stated; registry.card in params.yaml is the place"


def write_card(package: Package, rows: list[dict[str, float]]) -> str:
    """Compose MODEL_CARD.md; what only a person knows stays a field to fill in."""
    model, lineage = package.network.config, package.lineage
    last, git = rows[-1], lineage["git"]
    parameters = sum(p.numel() for p in package.network.parameters())
    vit, template, search = model.backbone, model.template, model.search
    training = f"{last['epoch']:.0f} epochs, {lineage['training_seconds']:.0f} s"
    fit = f"loss {last['Loss/total']:.3f}, IoU {last['IoU']:.3f}, accuracy {last['Accuracy']:.3f}"
    revision = git["revision"] or "not under git"
    return f"""# Model card

A single-object tracker that says where the target is and what it is.

| | |
|---|---|
| variant | {model.variant} |
| backbone | ViT, patch {vit.patch}, width {vit.width}, depth {vit.depth}, {vit.heads} heads |
| template | {template.size} px, {template.factor:g} × the target |
| search region | {search.size} px, {search.factor:g} × the target |
| parameters | {parameters:,} |
| classes | {", ".join(package.classes) or "none"} |
| code | {revision}{" + local changes" if git["changed"] else ""} |
| data | {lineage["data"]["dvc_md5"] or "not under DVC"} |
| training | {training} on {lineage["hardware"]}, seed {lineage["seed"]} |
| last epoch, on training crops | {fit} |

## Intended use

Following one target through a video from a box in its first frame, for targets of the classes above
in footage like the training data. Held-out results, gates and their intervals are registered with
each version as `evaluation/gate.json`.

## Limits

It does not detect targets, does not find one again after it left the search region, and gives some
class to objects of none. Drift of new footage from the training data is measured by the drift step
against `profile.json` in this package.

## Held-out results, owner and licences

They stand in the card that is registered with each version, `evaluation/MODEL_CARD.md`.
"""


def complete_card(
    card: str,
    answers: config.Card,
    metrics: Mapping[str, Any],
    judged: Mapping[str, Any],
    slices: Mapping[str, list[Any]],
) -> str:
    """The card of a registered version: a package's, with held-out results and what a person answered.

    `slices` holds the columns of plots/slices.csv, or nothing.
    """
    rows = [dict(zip(slices, values, strict=True)) for values in zip(*slices.values(), strict=True)]
    lines = [
        card.partition("## Held-out results")[0].rstrip(),
        "\n## Held-out results\n",
        f"{metrics.get('sequences')} sequences, {metrics.get('frames')} scored frames; verdict "
        f"{judged['verdict']} ({judged['comparison']}). Intervals are 95 %.\n",
        "| metric | value | interval |\n|---|---:|---|",
    ]
    for name in (n for n in metrics if f"{n}_low" in metrics and f"{n}_high" in metrics):
        lines.append(_row(name, metrics[name], metrics[f"{name}_low"], metrics[f"{name}_high"]))
    if rows:
        lines.append("\n| slice | AO | interval | sequences |\n|---|---:|---|---:|")
    for row in rows:
        name = f"{row['kind']} {row['slice']}"
        lines.append(f"{_row(name, row['ao'], row['low'], row['high'])} {row['sequences']} |")
    lines.append("\n## Owner and licences\n")
    lines += [f"- {title}: {answer or UNANSWERED}" for title, answer in _ask(answers).items()]
    return "\n".join(lines) + "\n"


def _row(name: str, value: float | None, low: float | None, high: float | None) -> str:
    shown = ["" if v is None or v != v else f"{v:.3f}" for v in (value, low, high)]  # noqa: PLR0124
    interval = f"{shown[1]} to {shown[2]}" if shown[1] and shown[2] else ""
    return f"| {' '.join(name.replace('|', '/').split())} | {shown[0]} | {interval} |"


def _ask(answers: config.Card) -> dict[str, str | None]:
    return {
        "Owner": answers.owner,
        "Licence of the weights": answers.weights_licence,
        "Licence of the data": answers.data_licence,
        "Uses that are ruled out": answers.excluded_uses,
    }
