"""What an explainer is: a method that attributes a decision to the pixels."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn


class InapplicableError(ValueError):
    """The explainer has no answer for this model, which shows only when it runs; the message says why."""


@dataclass(frozen=True)
class Explainer(ABC):
    """Attributes the logit of a class to the pixels of the image.

    A subclass is a frozen dataclass whose fields are its settings and which writes `attribute`; an instance at
    the top level of a module is an entry, and the variable's name is its public name. After any call, also one
    that raised, the model's weights, mode, hooks and requires_grad, the inputs and the global random state are
    as they were. An explainer that draws random numbers draws the same ones for the same image.
    """

    on_request: ClassVar[bool] = False
    """Whether it runs only where a name or pattern asks for it, and not with `--all` alone."""
    class_sensitive: ClassVar[bool] = True
    """Whether another target has another map. False for a method whose definition has no class in it (the principal
    component of the feature maps, say): its map is the same for every target."""

    def __call__(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        """Explain one decision an image, also where the caller has switched gradients off.

        Args:
            model: In eval mode; (N, 3, H, W) images in [0, 1] -> (N, K) logits.
            inputs: (N, 3, H, W) float images in [0, 1].
            targets: (N,) int64, the class whose logit is explained.

        Returns:
            (N, 1, H, W) attributions of the inputs' dtype, detached: positive speaks for the class, negative
            against it; the unit is the explainer's own.

        Raises:
            ValueError: the arguments or the explainer's answer have a wrong shape or dtype, or the answer is
                not finite. The message names the explainer.
        """
        images = inputs.ndim == 4 and inputs.is_floating_point()
        if not images or targets.shape != inputs.shape[:1] or targets.dtype != torch.int64:
            raise ValueError(
                f"{self}: wants (N, C, H, W) float inputs and (N,) int64 targets, "
                f"not {tuple(inputs.shape)} {inputs.dtype} and {tuple(targets.shape)} {targets.dtype}"
            )
        with torch.enable_grad():
            attributions = self.attribute(model, inputs, targets).detach()
        wanted = (len(inputs), 1, *inputs.shape[2:])
        if attributions.shape != wanted:
            raise ValueError(f"{self}: attributions are {wanted}, not {tuple(attributions.shape)}")
        if attributions.dtype != inputs.dtype:
            raise ValueError(f"{self}: attributions are {inputs.dtype} as the inputs, not {attributions.dtype}")
        if not bool(attributions.isfinite().all()):
            raise ValueError(f"{self}: attributions are not finite")
        return attributions

    @abstractmethod
    def attribute(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        """The attributions, as `__call__` describes them."""

    def inapplicable(self, model: nn.Module) -> str | None:  # noqa: ARG002
        """Why this explainer has no answer for this model, or None where it has one."""
        return None

    def describe(self, model: nn.Module, inputs: Tensor) -> dict[str, str]:  # noqa: ARG002
        """What the explainer chose by looking at the model (the layer, say): kept in the record's provenance."""
        return {}

    def variants(self) -> Mapping[str, "Explainer"]:
        """The same method with other settings, for sweeps: each is called `name@key`, run where `@` is asked for."""
        return {}
