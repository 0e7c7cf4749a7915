"""A small task with explainers and a metric, as a user would write them in a file of one's own.

The model answers the brightness of the left and of the right half; the mask is the half that the label names.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from explainers.base import Explainer
from metrics.base import Category, Explanation, Metric
from tasks.base import Sample, Task

SIDE = 16


class Halves(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.colors = nn.Conv2d(3, 3, 1)
        self.colors.weight = nn.Parameter(torch.eye(3)[..., None, None])
        self.colors.bias = nn.Parameter(torch.zeros(3))
        self.conv = nn.Conv2d(3, 2, SIDE)
        weight = torch.zeros(2, 3, SIDE, SIDE)
        weight[0, :, :, : SIDE // 2] = 0.1
        weight[1, :, :, SIDE // 2 :] = 0.1
        self.conv.weight = nn.Parameter(weight)
        self.conv.bias = nn.Parameter(torch.zeros(2))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.conv(self.colors(inputs)).flatten(1)


@dataclass(frozen=True)
class ToyTask(Task):
    n_samples: int = 6
    contrast: float = 0.5

    def classes(self) -> tuple[str, ...]:
        return ("left", "right")

    def model(self) -> nn.Module:
        return Halves().eval().requires_grad_(False)

    def samples(self) -> list[Sample]:
        return [self.sample(index) for index in range(self.n_samples)]

    def sample(self, index: int) -> Sample:
        label = index % 2
        image = 0.4 * torch.rand((3, SIDE, SIDE), generator=torch.Generator().manual_seed(index))
        mask = torch.zeros(1, SIDE, SIDE, dtype=torch.bool)
        mask[..., SIDE // 2 * label : SIDE // 2 * (label + 1)] = True
        return Sample(image + self.contrast * mask, torch.tensor(label), f"toy-{index}", mask)


@dataclass(frozen=True)
class Weights(Explainer):
    """The weights of the convolution: the truth."""

    scale: float = 1.0

    def attribute(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        weight = model.get_submodule("conv").weight
        return self.scale * weight[targets].sum(dim=1, keepdim=True).to(inputs.dtype)


@dataclass(frozen=True)
class Failing(Explainer):
    def attribute(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:  # noqa: ARG002
        raise RuntimeError("the explainer is broken\nand says more")


@dataclass(frozen=True)
class Fussy(Explainer):
    def attribute(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:  # noqa: ARG002
        raise AssertionError("must not be asked")

    def inapplicable(self, model: nn.Module) -> str | None:  # noqa: ARG002
        return "it does not like halves"


@dataclass(frozen=True)
class Mean(Metric):
    category: ClassVar[Category] = Category.COMPLEXITY
    higher_is_better: ClassVar[bool] = True

    def score(self, explanation: Explanation) -> Tensor:
        return explanation.attributions.mean(dim=(1, 2, 3))


@dataclass(frozen=True)
class Raising(Metric):
    category: ClassVar[Category] = Category.COMPLEXITY
    higher_is_better: ClassVar[bool] = True

    def score(self, explanation: Explanation) -> Tensor:  # noqa: ARG002
        raise ZeroDivisionError("the metric is broken")


@dataclass(frozen=True)
class BrokenTask(ToyTask):
    """Raises whatever it is told to when its samples or its model are asked for."""

    of_samples: Callable[[], Exception] | None = None
    of_model: Callable[[], Exception] | None = None

    def samples(self) -> list[Sample]:
        if self.of_samples is not None:
            raise self.of_samples()
        return super().samples()

    def model(self) -> nn.Module:
        if self.of_model is not None:
            raise self.of_model()
        return super().model()
