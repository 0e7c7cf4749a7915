"""From a notebook: a model and images that are in memory, scored as `bench run` scores a task, as one long table."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pandas as pd
from torch import Tensor, nn

from explainers.base import Explainer
from leaderboard import record as records
from leaderboard.record import Cell, Record
from metrics.base import Metric
from tasks.base import Task

from . import environment
from .catalog import Catalog, catalog, select
from .errors import UserError
from .in_memory import in_memory
from .runner import SHARD_SIZE, Event, Settings, run_task

Plugin = TypeVar("Plugin", Explainer, Metric)


def score(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor | None = None,
    masks: Tensor | None = None,
    *,
    labels: Tensor | None = None,
    explainers: str | Explainer | Sequence[str | Explainer] | Mapping[str, Explainer] = "lrp*,grad_cam,center",
    metrics: str | Metric | Sequence[str | Metric] | Mapping[str, Metric] = "srg*,pointing_game",
    batch_size: int = 16,
    device: str = "cpu",
    seed: int = 0,
    results: Path | str | None = None,
    task: str = "notebook",
    ids: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Let explainers explain a model's decisions, and metrics judge the explanations.

    The scores are those of `bench run` on the same samples. The model and the inputs stay as they are: a copy of
    the model is put into eval mode and used.

    Args:
        model: (N, 3, H, W) images in [0, 1] -> (N, K) logits; what normalizes the images is part of it.
        inputs: (N, 3, H, W) float32 in [0, 1].
        targets: (N,) int64 in [0, K), the class whose logit is explained; None: the one that the model predicts.
        masks: (N, 1, H, W) bool, where the evidence lies; all False: none for this image.
        labels: (N,) int64 in [0, K), the truth, -1 where nobody knows; kept beside the records, without influence. Or
            (N, K) int64 in {0, 1, -1} for a multi-label model: each class is then decided on its own (is its logit
            above 0?), its probability is the sigmoid.
        explainers, metrics: Names or `*` patterns, comma-separated, as in `bench list`; or instances, one or
            several; or instances under names of your own.
        batch_size: Images explained at a time.
        device: cpu, cuda, cuda:N, or auto.
        seed: Of all that is random.
        results: Folder in which the records are kept, and from which they are used again; None: nowhere.
        task: What to call the samples. It and the samples' ids take part in seeding what is random.
        ids: N names, each once; None: the numbers from 0.

    Returns:
        One row an explainer, metric and sample, in this order: explainer, metric, category, higher_is_better, sample,
        score, status ("scored", "failed" or "inapplicable"), reason (why there is no score). A score of nan is
        not defined for the sample, or there is none.

    Raises:
        ValueError: an argument is not as described above; one line.

    >>> import torch
    >>> from torchvision.models import squeezenet1_1
    >>> images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    >>> score(squeezenet1_1(num_classes=2), images, explainers="center", metrics="sparseness")[["sample", "status"]]
      sample  status
    0      0  scored
    1      1  scored
    """
    found = catalog()
    with _plainly():
        chosen = Catalog(
            tasks={},
            explainers=_chosen(explainers, found.explainers, Explainer),  # type: ignore[type-abstract]
            metrics=_chosen(metrics, found.metrics, Metric),  # type: ignore[type-abstract]
        )
        place = environment.device_of(device)
    _check_name(task, "task")
    if not isinstance(batch_size, int) or batch_size < 1:
        raise ValueError(f"batch_size: at least 1, not {batch_size!r}")
    given = in_memory(model, inputs, targets, masks, labels, ids)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary if results is None else results)
        settings = Settings(folder, place, len(inputs), batch_size, seed)
        return _table(_run(task, given, chosen, settings), chosen, given.ids)


def _run(name: str, task: Task, chosen: Catalog, settings: Settings) -> dict[tuple[str, int], Record]:
    """The records of all explainers, by explainer and number of the shard."""
    made = []

    def report(event: Event) -> None:
        if event.error is not None and any(reason.startswith("task: ") for reason in event.failures.values()):
            raise event.error
        if event.ended:
            made.append((event.explainer, event.shard))

    with _plainly(), environment.computing_exactly():
        run_task(name, task, chosen, settings, report)
    return {
        (explainer, int(shard)): records.read(records.path_of(settings.results, name, shard, explainer))
        for explainer, shard in made
    }


def _table(found: Mapping[tuple[str, int], Record], chosen: Catalog, ids: Sequence[str]) -> pd.DataFrame:
    n_shards = 1 + max(shard for _, shard in found)
    return pd.concat(
        [
            _rows(found[explainer, shard], metric, ids[shard * SHARD_SIZE : (shard + 1) * SHARD_SIZE])
            for explainer in chosen.explainers
            for metric in chosen.metrics
            for shard in range(n_shards)
        ],
        ignore_index=True,
    )


def _rows(record: Record, metric: str, ids: Sequence[str]) -> pd.DataFrame:
    """A cell of the record, cut to the samples: a kept record may have more."""
    cell: Cell = record.cells[metric]
    scores = record.scores[record.scores["metric"] == metric].astype({"sample": str}).set_index("sample")["score"]
    return pd.DataFrame(
        {
            "explainer": record.explainer,
            "metric": metric,
            "category": cell.category,
            "higher_is_better": cell.higher_is_better,
            "sample": list(ids),
            "score": scores.reindex(list(ids)).to_numpy(dtype=float),
            "status": str(cell.status),
            "reason": cell.reason,
        }
    )


def _chosen(
    asked: str | Plugin | Sequence[str | Plugin] | Mapping[str, Plugin],
    entries: Mapping[str, Plugin],
    base: type[Plugin],
) -> dict[str, Plugin]:
    """What was asked for, under its name: the catalog's, one's own, or else what it prints as."""
    kind = base.__name__.lower()
    found: dict[str, Plugin] = {}
    if isinstance(asked, Mapping):
        found.update(asked)
    else:
        parts = asked if isinstance(asked, Sequence) and not isinstance(asked, str) else [asked]
        for part in parts:
            if isinstance(part, str):
                found.update(select(entries, part, kind))
            else:
                found[next((name for name, entry in entries.items() if entry == part), repr(part))] = part
    for name, entry in found.items():
        _check_name(name, kind)
        if not isinstance(entry, base):
            raise ValueError(f"{kind}s: give names, patterns or instances of {base.__name__}, not {entry!r}")
    if not found:
        raise ValueError(f"{kind}s: none is chosen; `bench list {kind}s` shows them all")
    return found


@contextmanager
def _plainly() -> Iterator[None]:
    """What the user can mend is a ValueError here."""
    try:
        yield
    except UserError as error:
        raise ValueError(str(error)) from error


def _check_name(name: str, kind: str) -> None:
    """A name becomes the name of a folder or file."""
    if not isinstance(name, str) or name in ("", ".", "..") or {"/", "\\", "\0"} & set(name) or len(name) > 200:
        raise ValueError(f"{kind}: {name!r} is no name for a file; give a short plain one, as in {{'mine': …}}")
