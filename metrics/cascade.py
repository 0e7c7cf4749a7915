"""Networks whose layers lose their weights one after another: what the tests by randomization explain again.

Made once a task: the networks of a model are kept as long as it lives and is the same, so that all batches, explainers
and metrics meet the same ones, and whoever prepares a network (LRP rebuilds it) does so once. A layer's random weights
do not depend on which other layers are random, so one set of them serves every network, in either direction; weights
that are not random are the model's own tensors. However many networks there are, they hold one model's worth of memory.
"""

import copy
from collections.abc import Callable
from itertools import chain
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from .base import Decisions


class Cascade:
    """A model's networks with some layers randomized.

    A layer is a module that owns parameters itself: convolution, linear, normalization, or one's own. It is randomized
    by its own `reset_parameters()`, running statistics of batch norm included; parameters that this leaves as they are,
    or all where there is no such method (exported networks), are drawn from a normal distribution with the mean and
    standard deviation of the parameter. The numbers belong to the run's seed, the task and the layer's name: not to the
    sample, the device or the memory layout. Weights that two layers share become two. The model and the global random
    state are left as they are.

    Attributes:
        layers: Names of the layers from the input to the output, in the order in which one image calls them first;
            those that are never called (their parameters are used from outside) follow the one defined before them.

    Raises:
        ValueError: the model has no parameters.
    """

    def __init__(self, decisions: Decisions) -> None:
        self._origin = (decisions.seed, decisions.task)
        self._state = _state(decisions.model)
        self._original = _sharing_tensors(decisions.model)
        self._networks: dict[frozenset[str], nn.Module] = {}
        self.layers = _layers(self._original, decisions.inputs[:1])
        if not self.layers:
            raise ValueError("the model has no parameters that could be randomized")
        modules = dict(self._original.named_modules())
        self._random = {name: _randomized(decisions, name, modules[name]) for name in self.layers}

    def top_down(self, n: int) -> frozenset[str]:
        """The n layers nearest to the output."""
        return frozenset(self.layers[len(self.layers) - n :])

    def bottom_up(self, n: int) -> frozenset[str]:
        """The n layers nearest to the input."""
        return frozenset(self.layers[:n])

    def network(self, randomized: frozenset[str]) -> nn.Module:
        """The model with these layers randomized: the same object at every call, in the model's mode."""
        if randomized not in self._networks:
            network = _sharing_tensors(self._original)
            modules = dict(network.named_modules())
            for name in randomized:
                for key, tensor in self._random[name].items():
                    setattr(modules[name], key, tensor)
            self._networks[randomized] = network
        return self._networks[randomized]

    def fits(self, decisions: Decisions) -> bool:
        """Whether these are the networks of the decisions' model as it is now, by its seed and task.

        The model is the same if it has the same modules and settings, as it is printed, and the same tensors, nothing
        written to them since by an operation that torch counts.
        """
        text, tensors, counts = _state(decisions.model)
        then_text, then_tensors, then_counts = self._state
        return (
            self._origin == (decisions.seed, decisions.task)
            and (text, counts, len(tensors)) == (then_text, then_counts, len(then_tensors))
            and all(now is then for now, then in zip(tensors, then_tensors, strict=True))
        )


def cascade(decisions: Decisions) -> Cascade:
    """The networks of the decisions' model: made once a task."""
    return decisions.shared("cascade", lambda: _of_model(decisions))


# State of this module, so that no trace is left on the model: entries go when their model goes or changes.
_cascades: WeakKeyDictionary[nn.Module, Cascade] = WeakKeyDictionary()


def _of_model(decisions: Decisions) -> Cascade:
    kept = _cascades.get(decisions.model)
    if kept is None or not kept.fits(decisions):
        kept = _cascades[decisions.model] = Cascade(decisions)
    return kept


def _state(model: nn.Module) -> tuple[str, list[Tensor], list[int]]:
    """How the model is printed, its tensors, and how often each was written to."""
    tensors = [*model.parameters(), *model.buffers()]
    return repr(model), tensors, [0 if tensor.is_inference() else tensor._version for tensor in tensors]


def _sharing_tensors(model: nn.Module) -> nn.Module:
    """A copy of the model that has the same parameters and buffers, not copies of them."""
    return copy.deepcopy(model, {id(tensor): tensor for tensor in chain(model.parameters(), model.buffers())})


def _layers(model: nn.Module, image: Tensor) -> tuple[str, ...]:
    """Names of the modules that own parameters, from the input to the output."""
    owners = {name: module for name, module in model.named_modules() if [*module.parameters(recurse=False)]}
    called: dict[str, int] = {}

    def noting(name: str) -> Callable[..., None]:
        def note(*_: object) -> None:
            called.setdefault(name, len(called))

        return note

    # Python does not see the calls within TorchScript.
    hooked = [(name, module) for name, module in owners.items() if not isinstance(module, torch.jit.ScriptModule)]
    handles = [module.register_forward_pre_hook(noting(name)) for name, module in hooked]
    try:
        with torch.no_grad():
            model(image)
    finally:
        for handle in handles:
            handle.remove()
    places, place = {}, -1
    for name in owners:
        places[name] = place = called.get(name, place)
    return tuple(sorted(owners, key=lambda name: places[name]))


def _randomized(decisions: Decisions, name: str, layer: nn.Module) -> dict[str, Tensor]:
    """The layer's own parameters and buffers, randomized, by their names."""
    with torch.inference_mode(False), torch.no_grad():
        drawn = _drawn(layer, decisions.task_generator(f"random weights/{name}"))
        return {key: _like(tensor, drawn[key]) for key, tensor in _own_tensors(layer).items()}


def _drawn(layer: nn.Module, generator: torch.Generator) -> dict[str, Tensor]:
    """The layer's own tensors, randomized as contiguous float32 on the CPU: the same numbers wherever it lies."""
    twin = copy.deepcopy(layer).to("cpu", torch.float32).to(memory_format=torch.contiguous_format)
    before = {name: parameter.clone() for name, parameter in twin.named_parameters(recurse=False)}
    reset = getattr(twin, "reset_parameters", None)
    if reset is not None:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(generator.initial_seed())
            reset()
    for name, parameter in twin.named_parameters(recurse=False):
        if torch.equal(parameter, before[name]):
            mean, deviation = parameter.mean(), parameter.std(correction=0)
            parameter.copy_(mean + deviation * torch.randn(parameter.shape, generator=generator))
    return _own_tensors(twin)


def _own_tensors(layer: nn.Module) -> dict[str, Tensor]:
    return dict(chain(layer.named_parameters(recurse=False), layer.named_buffers(recurse=False)))


def _like(original: Tensor, values: Tensor) -> Tensor:
    """The values as the original lies: device, type, memory layout; a parameter if it is one."""
    tensor = torch.empty_like(original).copy_(values)
    return nn.Parameter(tensor, original.requires_grad) if isinstance(original, nn.Parameter) else tensor
