"""One explainer on one network: what the checks work on."""

from collections.abc import Callable, Sequence
from functools import cached_property

import torch
from torch import Tensor, nn

from explainers.base import Explainer

from . import traces
from .networks import SIDE, structures

Build = Callable[[int], nn.Module]
Key = tuple[torch.dtype, torch.dtype, int, torch.device]


class Case:
    """A network, images, and the classes that explainers are asked about.

    Images are asked about their likeliest class, but each about another one. The networks are made when they are
    first asked for, and shared by all checks.

    Args:
        name: What the network is called.
        build: A seed -> the network with the weights of that seed: in eval mode, frozen, float32, on the CPU.
        images: (N, 3, H, W) float32 in [0, 1], at least two and at most as many as there are classes.
        device: Where it is computed.
    """

    def __init__(
        self, name: str, build: Build, images: Tensor | None = None, device: torch.device | None = None
    ) -> None:
        self.name = name
        self.device = device or torch.device("cpu")
        self._build = build
        self._made: dict[Key, tuple[nn.Module, traces.Look]] = {}
        self._used: set[Key] = set()
        self.images = (structures(2, SIDE) if images is None else images).to(self.device)
        with torch.no_grad():
            ranked = self.network()(self.images.clone()).argsort(dim=1, descending=True).tolist()
        targets: list[int] = []
        for row in ranked:
            targets.append(_first(row, targets))
        others = [_first(row, [target]) for row, target in zip(ranked, targets, strict=True)]
        self.targets, self.other_targets = (torch.tensor(classes, device=self.device) for classes in (targets, others))

    def network(
        self,
        dtype: torch.dtype = torch.float32,
        seed: int = 1,
        rounded: torch.dtype | None = None,
        device: torch.device | None = None,
    ) -> nn.Module:
        """The network, one object for all who ask, as long as nobody changes it (`forget_changed`).

        Args:
            dtype: That it computes in.
            seed: Of its weights.
            rounded: To what dtype its weights are rounded before.
            device: Other than the case's.
        """
        key = (dtype, rounded or torch.float32, seed, device or self.device)
        if key not in self._made:
            network = self._build(seed).to(key[1]).to(key[3], dtype)
            self._made[key] = network, traces.of_model(network)
        self._used.add(key)
        return self._made[key][0]

    def forget_changed(self) -> None:
        """Let go of networks that were left changed, so that the next check has fresh ones."""
        for key in self._used:
            network, look = self._made[key]
            if traces.changed(look, traces.of_model(network)):
                del self._made[key]
        self._used.clear()


class Trial:
    """One explainer on one case, and the answers that several checks look at."""

    def __init__(self, explainer: Explainer, case: Case) -> None:
        self.explainer = explainer
        self.case = case

    def explain(self, network: nn.Module, images: Tensor | None = None, targets: Tensor | None = None) -> Tensor:
        """The explainer's answer to copies of the case's images and targets, or of others."""
        images = self.case.images if images is None else images
        targets = self.case.targets if targets is None else targets
        return self.explainer(network, images.clone(), targets.clone())

    @cached_property
    def maps(self) -> Tensor:
        """The answer in float32."""
        return self.explain(self.case.network())

    @cached_property
    def exact(self) -> Tensor:
        """The answer in float64."""
        return self.explain(self.case.network(torch.float64), self.case.images.double())


def _first(ranked: Sequence[int], taken: Sequence[int]) -> int:
    return next(label for label in ranked if label not in taken)
