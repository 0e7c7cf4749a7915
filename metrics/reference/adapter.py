"""A metric of Quantus under our contract: sample by sample, one number each, quietly, nothing left behind."""

import importlib
import inspect
import warnings
from abc import ABC
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ..base import Decisions, Explain, Explanation, Metric


class RefusedError(Exception):
    """Quantus does not take such a map: see `refuses`."""


@dataclass(frozen=True)
class Reference(Metric, ABC):
    """Quantus's metric of the class's name, as it is.

    Its fields are Quantus's settings under Quantus's names, and its defaults but where a docstring says otherwise; the
    direction is that which Quantus declares. What a sample's score is where Quantus returns several numbers stands in
    the docstring.

    Quantus is asked sample by sample, since much of it depends on the batch (its normalization divides by the largest
    attribution of the batch, and a batch of another size rounds otherwise). Its random numbers are seeded by the
    sample. Its forward passes are its own: they are not counted, and where its definition wants probabilities, they
    are a softmax, also of a task with several labels. nan: Quantus refuses the map, or one that it made the explainer
    make (see `refuses`).

    Raises:
        RuntimeError: Quantus is not installed, or raises; the message says what is known to be wrong with it.
    """

    on_request: ClassVar[bool] = True
    fault: ClassVar[str] = ""
    """What is known to be wrong where Quantus 0.6 raises."""
    impossible: ClassVar[str] = ""
    """Why a sample of ours can have no score of it."""

    def score(self, explanation: Explanation) -> Tensor:
        """(N,) scores; nan where Quantus refuses the map."""
        name = type(self).__name__
        if self.impossible:
            raise RuntimeError(f"Quantus's {name} {self.impossible}")
        generators = explanation.decisions.generators(f"Quantus's {name}")
        scores = [self._of_sample(explanation, index, generator) for index, generator in enumerate(generators)]
        return torch.tensor(scores, dtype=torch.float64)

    def settings(self, decisions: Decisions) -> dict[str, Any]:
        """Keyword arguments of Quantus's class."""
        del decisions  # some need to know the size of the image or the number of classes
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def reduced(self, answer: Any) -> float:
        """The sample's score of what Quantus returns for one sample."""
        return float(np.asarray(answer, dtype=float).item())

    def _of_sample(self, explanation: Explanation, index: int, generator: torch.Generator) -> float:
        name, decisions, one = type(self).__name__, explanation.decisions, slice(index, index + 1)
        if refuses(explanation.attributions[one]):
            return float("nan")
        call = {
            "x_batch": array(decisions.inputs[one]),
            "y_batch": array(decisions.targets[one]),
            "a_batch": array(explanation.attributions[one]),
            "s_batch": None if decisions.masks is None else array(decisions.masks[one]),
            "explain_func": explaining(explanation.explain, decisions),
        }
        seed = int(torch.randint(2**32, (), generator=generator))
        library = quantus()
        try:
            return self.reduced(ask(library, name, self.settings(decisions), decisions.model, call, seed))
        except RefusedError:
            return float("nan")
        except Exception as error:
            said = str(error).strip().partition("\n")[0]
            raise RuntimeError(f"Quantus's {name} {self.fault or 'fails'} ({type(error).__name__}: {said})") from error


def quantus() -> ModuleType:
    """The library. Imported when it is needed only: that takes seconds.

    Raises:
        RuntimeError: it is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module("quantus")
    except ModuleNotFoundError as error:
        raise RuntimeError(f"needs quantus: pip install heatmark[quantus] ({error})") from error


def ask(
    library: ModuleType,
    name: str,
    settings: Mapping[str, Any],
    model: nn.Module | None,
    call: Mapping[str, Any],
    seed: int,
) -> Any:
    """What Quantus's class of a name returns.

    Args:
        library: `quantus()`.
        name: The class.
        settings: Its keyword arguments.
        model: What is judged; images -> (N, K) logits.
        call: Keyword arguments of the call; what this class does not take is left out.
        seed: Of all that Quantus draws. numpy's and torch's random states are as before afterwards.
    """
    metric = getattr(library, name)(**{"return_aggregate": False, "disable_warnings": True, **settings})
    taken = inspect.signature(type(metric).__call__).parameters
    device = None if model is None else next((str(value.device) for value in model.parameters()), "cpu")
    whole = {"channel_first": True, "device": None if device == "cpu" else device, **call}
    with _seeded(seed, device), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it also warns of what `disable_warnings` does not reach
        try:
            return metric(model=model, **{key: value for key, value in whole.items() if key in taken})
        finally:
            _forget(library)


def explaining(explain: Explain, decisions: Decisions) -> Callable[..., np.ndarray]:
    """The explainer as Quantus asks it: arrays in, arrays out.

    Raises:
        RefusedError: when asked, and the map is one that Quantus refuses.
    """

    def explained(model: nn.Module, inputs: np.ndarray, targets: np.ndarray, **_: Any) -> np.ndarray:
        images = torch.as_tensor(inputs).to(decisions.inputs)
        made = explain(model, images, torch.as_tensor(targets).to(decisions.targets))
        if refuses(made):
            raise RefusedError
        return array(made)

    return explained


def refuses(attributions: Tensor) -> bool:
    """Whether Quantus raises for such maps: they are all of one value (all-zero, constant), or negative everywhere."""
    return bool((attributions == attributions.flatten()[0]).all() or (attributions < 0).all())


def array(tensor: Tensor) -> np.ndarray:
    """A copy that Quantus may change."""
    return tensor.detach().cpu().numpy().copy()


@contextmanager
def _seeded(seed: int, device: str | None) -> Iterator[None]:
    state = np.random.get_state()
    devices = [device] if device is not None and device.startswith("cuda") else []
    with torch.random.fork_rng(devices=devices):
        np.random.seed(seed)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            np.random.set_state(state)


def _forget(library: ModuleType) -> None:
    """Quantus caches on its wrapper of a model, and so would hold every model, and every copy of it, for ever."""
    wrapper = library.helpers.model.pytorch_model.PyTorchModel
    wrapper._get_last_softmax_layer_index.cache_clear()
    wrapper._get_model_with_linear_top.cache_clear()
