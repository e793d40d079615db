"""The model card: what a person should know before using a package, written from records."""

from __future__ import annotations

from trackline.models.package import Package


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

## To be filled in by a person

Owner: · Licence of the weights: · Licence of the data: · Uses that are ruled out:
"""
