"""The contract, a check for each promise: a function of a trial that answers with what is wrong, or None.

An exception where the explainer should answer is a broken promise too; `examine` makes it a line. Differences of two
maps are the largest of any pixel, by the largest absolute value of both.
"""

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from explainers.base import Explainer, InapplicableError

from ..catalog import family
from . import traces
from .trial import Trial

Check = Callable[[Trial], str | None]

ROUNDING = 1e-5
"""Maps that differ by less are one map in float32."""
SAME_IN_FLOAT64 = 1e-9
"""As much may the batch change in float64."""
SAME_IN_FLOAT32 = 0.05
"""And in float32, for explainers that know no float64. Convolutions choose their algorithm by the batch: most maps move
by 1e-6, but where a value near a ReLU's kink is rounded to its other side, a pixel of a gradient moves by 1e-2."""
FLOAT32_ERROR = 0.25
"""Sum of the differences of float32 and float64, by the sum of values; of two unlike maps it is about 1. Most differ by
1e-5. Methods that add up gradients at many points meet many kinks of ReLUs, which rounding crosses: on random deep
networks expected_gradients differs by 0.04 (ResNet-50) and SmoothGrad by 0.11 (EfficientNet)."""
CUDA_ERROR = 1e-4
"""The same in float64, between a GPU and the CPU."""
OTHER_MODEL = 0.1
"""Another network's map differs by more."""
BFLOAT16_CORRELATION = 0.5
"""Of an image's maps in bfloat16 and float32, which have 8 and 24 bits; asked for only where maps survive rounding."""
SURVIVES_ROUNDING = 0.9
"""Of an image's maps in float32, before and after the weights are rounded to 8 bits. Where less is left (gradients of
deep networks), bfloat16 has no answer that an explainer could give."""


def is_a_map(trial: Trial) -> str | None:
    """(N, 1, H, W), the inputs' dtype and device, finite, without a graph."""
    maps, images = trial.maps, trial.case.images
    wanted = (len(images), 1, *images.shape[2:])
    if maps.shape != wanted:
        return f"the answer is {tuple(maps.shape)}, not {wanted}"
    if (maps.dtype, maps.device) != (images.dtype, images.device):
        return f"the answer is {maps.dtype} on {maps.device}, the images are {images.dtype} on {images.device}"
    if maps.requires_grad:
        return "the answer has a graph attached"
    n_bad = int((~maps.isfinite()).sum())
    return f"{n_bad} of {maps.numel()} values are not finite" if n_bad else None


def is_the_same_in_any_batch(trial: Trial) -> str | None:
    """An image's map does not depend on the size and the order of the batch; told in float64 where that works."""
    case, exact = trial.case, _knows_float64(trial)
    dtype, tolerance = (torch.float64, SAME_IN_FLOAT64) if exact else (torch.float32, SAME_IN_FLOAT32)
    whole = trial.exact if exact else trial.maps
    last = len(case.images) - 1
    for rows, batch in (([0], "alone"), ([last, last], "without the others")):
        maps = trial.explain(case.network(dtype), case.images[rows].to(dtype), case.targets[rows])
        if (gap := _gap(maps, whole[rows])) > tolerance:
            return f"{batch} an image has another map: {_percent(gap)} ({dtype})"
    return None


def leaves_no_traces(trial: Trial) -> str | None:
    """Everything is as it was, whether the caller's parameters and images want gradients or not."""
    network = trial.case.network()
    for wanting in (False, True):
        network.requires_grad_(wanting)
        images, targets = trial.case.images.clone().requires_grad_(wanting), trial.case.targets.clone()
        before = _look(network, images, targets)
        trial.explainer.inapplicable(network)
        trial.explainer.describe(network, images)
        trial.explainer(network, images, targets)
        left = traces.changed(before, _look(network, images, targets))
        network.requires_grad_(False)
        if left:
            return f"changed: {_listed(left)}{' (where parameters want gradients)' if wanting else ''}"
    return None


def survives_an_exception(trial: Trial) -> str | None:
    """What a forward pass raises comes out, everything is as it was, and the next answer is the usual one."""
    network = trial.case.network()
    for n_before, told in ((0, "the first"), (1, "a later")):
        images, targets = trial.case.images.clone(), trial.case.targets.clone()
        before = _look(network, images, targets)
        came_out = _comes_out(trial.explainer, network, images, targets, n_before)
        if came_out is None:
            break
        if not came_out:
            return f"answers although {told} forward pass raised an exception"
        if left := traces.changed(before, _look(network, images, targets)):
            return f"after an exception in {told} forward pass changed: {_listed(left)}"
    gap = _gap(trial.explain(network), trial.maps)
    return f"after an exception the answer is another one: {_percent(gap)}" if gap > _noise(trial) else None


def is_not_random(trial: Trial) -> str | None:
    """The same answer again, also in another global random state."""
    with traces.random_states_kept():
        torch.manual_seed(1)
        np.random.seed(1)
        random.seed(1)
        gap = _gap(trial.explain(trial.case.network()), trial.maps)
    return f"the answer to the same question is another one: {_percent(gap)}" if gap > _noise(trial) else None


def looks_at_the_target(trial: Trial) -> str | None:
    """Another class has another map; of a control and a method that declares so, the same."""
    case = trial.case
    others = trial.explain(case.network(), targets=case.other_targets)
    if _is_control(trial.explainer) or not trial.explainer.class_sensitive:
        gap = _gap(others, trial.maps)
        return f"class_sensitive is False, but another class has another map: {_percent(gap)}" if gap else None
    if not trial.maps.any() and not others.any():
        return "the maps of two classes are 0 everywhere"
    for row, (one, other) in enumerate(zip(trial.maps, others, strict=True)):
        if one.any() and _gap(one, other) <= ROUNDING:
            return f"classes {int(case.targets[row])} and {int(case.other_targets[row])} have the same map"
    return None


def looks_at_the_model(trial: Trial) -> str | None:
    """A network with other weights has another map; of a control, the same."""
    gap = _gap(trial.explain(trial.case.network(seed=2)), trial.maps)
    if _is_control(trial.explainer):
        return f"a control, but another network has another map: {_percent(gap)}" if gap else None
    return f"a network with other weights has the same map: {_percent(gap)}" if gap <= OTHER_MODEL else None


def agrees_with_float64(trial: Trial) -> str | None:
    """The answer in float64 is the one in float32 up to rounding."""
    exact = trial.exact
    if exact.dtype != torch.float64:
        return f"the answer to float64 images is {exact.dtype}"
    gap = float((trial.maps - exact).abs().sum() / exact.abs().sum().clamp(min=torch.finfo(torch.float64).tiny))
    return f"float32 and float64 differ by {gap:.1e} of the sum of values" if gap > FLOAT32_ERROR else None


def answers_in_bfloat16_or_says_no(trial: Trial) -> str | None:
    """A finite map like that in float32, or an InapplicableError of one line."""
    case = trial.case
    images = case.images.bfloat16()
    try:
        maps = trial.explain(case.network(torch.bfloat16), images)
    except InapplicableError as error:
        return f"says no in more than one line: {str(error)!r}" if len(str(error).splitlines()) != 1 else None
    finite = bool(maps.isfinite().all())
    if maps.dtype != torch.bfloat16 or not finite:
        return f"the answer to bfloat16 images is {maps.dtype}{'' if finite else ', not finite'}"
    wanted = trial.explain(case.network(rounded=torch.bfloat16), images.float())
    correlation = _correlation(maps, wanted)
    attainable = _correlation(trial.explain(case.network(), images.float()), wanted)
    if correlation < BFLOAT16_CORRELATION and attainable > SURVIVES_ROUNDING:
        return (
            f"bfloat16 and float32 correlate by {correlation:.2f}, where rounded weights alone leave {attainable:.2f}"
        )
    return None


def answers_as_on_the_cpu(trial: Trial) -> str | None:
    """The map on the case's device is the one on the CPU."""
    case = trial.case
    here = case.network(torch.float64, device=torch.device("cpu"))
    wanted = trial.explain(here, case.images.double().cpu(), case.targets.cpu())
    gap = _gap(trial.exact.cpu(), wanted)
    return f"{case.device} and CPU differ: {_percent(gap)} (float64)" if gap > CUDA_ERROR else None


CHECKS: dict[str, Check] = {
    "map": is_a_map,
    "batch": is_the_same_in_any_batch,
    "traces": leaves_no_traces,
    "exception": survives_an_exception,
    "random": is_not_random,
    "target": looks_at_the_target,
    "model": looks_at_the_model,
    "float64": agrees_with_float64,
    "bf16": answers_in_bfloat16_or_says_no,
}
"""Name -> check, in the order in which they are made."""


def checks_on(device: torch.device) -> dict[str, Check]:
    """All of them; `cuda` on a CUDA device only."""
    return CHECKS | ({"cuda": answers_as_on_the_cpu} if device.type == "cuda" else {})


class _Interrupted(TorchFunctionMode):
    """Within it, the network's layers with weights are counted, and the n-th raises; the network is not touched."""

    def __init__(self, n: int | None = None) -> None:
        super().__init__()
        self.n = n
        self.n_steps = 0

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in (torch.conv2d, nn.functional.linear):
            self.n_steps += 1
            if self.n_steps == self.n:
                raise ArithmeticError("the forward pass is interrupted")
        return func(*args, **(kwargs or {}))


def _comes_out(explainer: Explainer, network: nn.Module, images: Tensor, targets: Tensor, n_before: int) -> bool | None:
    """Whether an exception in the middle of the pass behind n_before ones comes out; None: there is no such pass."""
    with _Interrupted() as counting, torch.no_grad():
        network(images.clone())
    place = n_before * counting.n_steps + counting.n_steps // 2 + 1
    with _Interrupted(place) as interrupted:
        try:
            explainer(network, images, targets)
        except Exception:  # noqa: BLE001  # whatever it makes of the exception, it does not hide it
            return True
    return False if interrupted.n_steps >= place else None


def _knows_float64(trial: Trial) -> bool:
    try:
        return bool(trial.exact.dtype == torch.float64)
    except Exception:  # noqa: BLE001  # the check `float64` says what it is
        return False


def _is_control(explainer: Explainer) -> bool:
    return family(explainer) == "controls"


def _look(network: nn.Module, images: Tensor, targets: Tensor) -> traces.Look:
    arguments = traces.of_arguments(inputs=images, targets=targets)
    return traces.of_model(network) | arguments | traces.of_process()


def _gap(one: Tensor, other: Tensor) -> float:
    size = max(float(one.abs().max()), float(other.abs().max()))
    return float((one - other).abs().max()) / size if size else 0.0


def _noise(trial: Trial) -> float:
    """What repeated answers may differ by: nothing on a CPU; some of a GPU's sums have no fixed order."""
    return 0.0 if trial.case.device.type == "cpu" else ROUNDING


def _correlation(maps: Tensor, wanted: Tensor) -> float:
    """The lowest of any image; 1 where both are constant."""
    lowest = 1.0
    for pair in zip(maps.flatten(1).double(), wanted.flatten(1).double(), strict=True):
        if all(bool((values == values[0]).all()) for values in pair):
            continue
        lowest = min(lowest, float(torch.corrcoef(torch.stack(pair))[0, 1].nan_to_num(0)))
    return lowest


def _percent(gap: float) -> str:
    return f"differs by {100 * gap:.2g} % of the largest value"


def _listed(left: list[str]) -> str:
    more = f" and {len(left) - 1} more" if len(left) > 1 else ""
    return left[0] + more
