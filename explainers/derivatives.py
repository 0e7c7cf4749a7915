"""Other derivatives for the steps that are not linear: what guided backpropagation and DeepLIFT (`rescaling`) rest on.

The modes here act while the model runs: within them a ReLU, called as a module, as a function or in place, computes
what it always does and is differentiated by another rule. The model is neither traced nor changed, so any way of
writing it will do: one ReLU module for all uses, functions, steps in place.
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.overrides import TorchFunctionMode

Step = Callable[..., Tensor]
Answer = TypeVar("Answer")

_IN_PLACE: dict[Any, Step] = {
    torch.relu_: torch.relu,
    Tensor.relu_: torch.relu,
    F.hardtanh_: F.hardtanh,
    F.leaky_relu_: F.leaky_relu,
    F.elu_: F.elu,
    torch.sigmoid_: torch.sigmoid,
    Tensor.sigmoid_: torch.sigmoid,
    torch.tanh_: torch.tanh,
    Tensor.tanh_: torch.tanh,
    Tensor.mul_: torch.mul,
    Tensor.__imul__: torch.mul,
}
"""What overwrites its input -> the same step out of place."""

RELUS: set[Any] = {F.relu, torch.relu, Tensor.relu}
RECTIFIERS: set[Any] = RELUS | {F.relu6, F.hardtanh}
"""ReLU, and ReLU6, which torch calls a hard tanh."""


class OtherDerivative(TorchFunctionMode):
    """Within it, steps that `replaces` names are computed by `compute`; steps in place are, too, and overwrite."""

    @abstractmethod
    def replaces(self, step: Step, args: Sequence[Any]) -> bool:
        """Whether the step, as it is called out of place, is differentiated otherwise."""

    @abstractmethod
    def compute(self, step: Step, args: Sequence[Any], settings: dict[str, Any]) -> Tensor:
        """What the step answers, with the other derivative; args[0] is the tensor that it acts on."""

    def __torch_function__(
        self, func: Callable[..., Answer], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        settings = dict(kwargs or {})
        step: Any = _IN_PLACE.get(func, func)
        operands = (settings["input"], *args) if "input" in settings else args
        if not operands or not isinstance(operands[0], Tensor) or not self.replaces(step, operands):
            return func(*args, **settings)
        settings.pop("input", None)
        overwrites = func in _IN_PLACE or bool(settings.pop("inplace", False))
        if step in (F.relu, F.relu6):  # the one setting that they have is whether they overwrite
            overwrites, operands = overwrites or any(operands[1:]), operands[:1]
        answer = self.compute(step, operands, settings)
        return operands[0].copy_(answer) if overwrites else answer


class Rectified(OtherDerivative):
    """Within it, a ReLU hands back only what is positive of the gradient that comes to it.

    Args:
        guided: Also only where the ReLU let the value pass (guided backpropagation), or everywhere (deconvnet).
    """

    def __init__(self, guided: bool) -> None:
        super().__init__()
        self.guided = guided
        self.n_steps = 0
        """How many ReLUs were met."""

    def replaces(self, step: Step, args: Sequence[Any]) -> bool:  # noqa: ARG002
        return step in RECTIFIERS

    def compute(self, step: Step, args: Sequence[Any], settings: dict[str, Any]) -> Tensor:
        self.n_steps += 1
        answer = step(args[0].detach(), *args[1:], **settings)
        passes = answer > 0 if self.guided else None
        if passes is not None and step not in RELUS:  # which also have an upper end
            passes &= answer == args[0].detach()
        rectified: Tensor = _PositiveGradient.apply(args[0], answer, passes)
        return rectified


class _PositiveGradient(Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, answer: Tensor, passes: Tensor | None) -> Tensor:  # noqa: ARG004
        ctx.save_for_backward(passes)
        return answer

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (passes,) = ctx.saved_tensors
        positive = gradients[0].clamp(min=0)
        return positive if passes is None else positive.mul_(passes), None, None
