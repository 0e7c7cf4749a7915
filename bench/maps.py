"""Rows of a sheet: images, and beneath them what explainers say about them, also where the images were augmented."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from matplotlib.colors import Colormap
from torch import Tensor, nn

from explainers.base import Explainer, InapplicableError
from leaderboard.pictures.figures import map_tile
from leaderboard.pictures.sheets import EVIDENCE, SHORTCUT, SIGNED, Array, Row, Tile
from metrics.base import Explanation
from metrics.robustness import RankCorrelation
from tasks.base import Task

from .errors import one_line
from .outcome import captions, sample_table
from .runner import Settings, decide, on_device


class Step(NamedTuple):
    """A row to draw, and what went wrong with it."""

    row: Row
    failure: str | None = None


def map_rows(
    name: str,
    task: Task,
    explainers: Mapping[str, Explainer],
    augmentations: Mapping[str, RankCorrelation],
    settings: Settings,
    colours: Colormap = SIGNED,
) -> Iterator[Step]:
    """The first samples of a task and a row an explainer; then the same for the images as each augmentation has them.

    Beneath an image stand its label and the prediction; beneath a map of an augmented image, how alike it is to that
    of the image itself, by rank correlation (which is undefined where the prediction changed).

    Raises:
        Exception: whatever the task raises. An explainer that raises has a row that says so.
    """
    model = on_device(task, settings.device)
    decisions = decide(model, next(iter(task.batches(settings.n_samples, 0, settings.n_samples))), name, settings)
    told = captions(sample_table([decisions], task.classes(), task.negative()), decisions.multi_label)
    outlines = {EVIDENCE: decisions.masks, SHORTCUT: decisions.shortcuts}
    known = {colour: masks for colour, masks in outlines.items() if masks is not None}
    yield Step(Row(name, _image_tiles(decisions.inputs, told, known)))
    found: dict[str, Tensor] = {}
    for explainer_name, explainer in explainers.items():
        answer = _explained(explainer, model, decisions.inputs, decisions.targets)
        if isinstance(answer, Tensor):
            found[explainer_name] = answer
            yield Step(Row(explainer_name, _map_tiles(answer, decisions.inputs, known, colours)))
        else:
            yield Step(
                Row(f"{explainer_name}: {answer.kind}: {answer.reason}", []),
                f"{explainer_name}: {answer.reason}" if answer.is_failure else None,
            )
    for augmentation_name, augmentation in augmentations.items():
        images = augmentation.transformation.images(decisions)
        moved = {colour: augmentation.transformation.move(masks.float()) > 0.5 for colour, masks in known.items()}
        yield Step(Row(f"{name}\n{augmentation_name}", _image_tiles(images, [""] * len(images), moved)))
        for explainer_name, maps in found.items():
            explanation = Explanation(decisions, maps, explainers[explainer_name])
            alike = [_alike(score) for score in augmentation(explanation).tolist()]
            again = explainers[explainer_name](model, images, decisions.targets)
            yield Step(Row(f"{explainer_name}\n{augmentation_name}", _map_tiles(again, images, moved, colours, alike)))


class _NoMaps(NamedTuple):
    reason: str
    is_failure: bool = False

    @property
    def kind(self) -> str:
        return "failed" if self.is_failure else "inapplicable"


def _explained(explainer: Explainer, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor | _NoMaps:
    try:
        reason = explainer.inapplicable(model)
        return _NoMaps(reason) if reason else explainer(model, inputs, targets)
    except InapplicableError as error:
        return _NoMaps(str(error))
    except Exception as error:  # noqa: BLE001  # an explainer is a plugin: its row fails, with the reason
        return _NoMaps(one_line(error), is_failure=True)


def _image_tiles(images: Tensor, texts: list[str], outlines: Mapping[str, Tensor]) -> list[Tile]:
    return [
        Tile(image.cpu().numpy(), text, _outlines(outlines, at))
        for at, (image, text) in enumerate(zip(images, texts, strict=True))
    ]


def _map_tiles(
    maps: Tensor, images: Tensor, outlines: Mapping[str, Tensor], colours: Colormap, texts: list[str] | None = None
) -> list[Tile]:
    return [
        map_tile(
            attribution[0].float().cpu().numpy(),
            image.cpu().numpy(),
            _outlines(outlines, at),
            texts[at] if texts else "",
            colours,
        )
        for at, (attribution, image) in enumerate(zip(maps, images, strict=True))
    ]


def _outlines(masks: Mapping[str, Tensor], at: int) -> dict[str, Array]:
    return {colour: of_all[at, 0].cpu().numpy() for colour, of_all in masks.items()}


def _alike(score: float) -> str:
    return "undefined" if score != score else f"ρ = {score:.2f}"
