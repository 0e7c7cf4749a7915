"""Relevance is conserved between every two modules; LRP a second time, along the graph, each rule by hand in float64.

The replica walks the canonized graph forwards and back and keeps a book: for every step, how much relevance it was
given, handed on, left with its bias, and lost to ε. It uses nothing of zennit and of `explainers.rules`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torchvision import models

from explainers import lrp
from explainers.canonizers import canonized
from explainers.conservation import conservation
from tasks.brain_mri import phantom_brain_mri_vgg16
from tasks.chest_xray_pneumonia import phantom_chest_xray_pneumonia_cnn
from tasks.covid19_radiography import phantom_covid19_radiography_densenet121, phantom_covid19_radiography_resnet18
from tasks.isic_2017 import phantom_isic_2017_resnet50
from tasks.networks.architectures import densenet121, resnet18, resnet50, vgg16, with_preprocessing

EPSILON = 1e-20
"""Activations of random networks may be as small as 1e-9."""
Build = Callable[[str], nn.Module]
Draw = Callable[..., Tensor]

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "vgg16": lambda: vgg16(5, width=1 / 8, pooled=2, hidden=16),
    "vgg16_bn": lambda: vgg16(5, width=1 / 8, pooled=2, hidden=16, batch_norm=True),
    "resnet18": lambda: resnet18(5, width=1 / 4),
    "resnet50": lambda: resnet50(5, width=1 / 4),
    "densenet121": lambda: densenet121(5, width=1 / 8),
    "squeezenet1_0": lambda: with_preprocessing(models.squeezenet1_0(weights=None, num_classes=5)),
    "mobilenet_v2": lambda: with_preprocessing(models.mobilenet_v2(weights=None, num_classes=5, width_mult=0.5)),
}
TASKS = {
    "vgg16": phantom_brain_mri_vgg16,
    "cnn": phantom_chest_xray_pneumonia_cnn,
    "resnet18": phantom_covid19_radiography_resnet18,
    "resnet50": phantom_isic_2017_resnet50,
    "densenet121": phantom_covid19_radiography_densenet121,
}
CONSERVING = ["lrp_epsilon", "lrp_epsilon_plus", "lrp_epsilon_gamma_box", "lrp_epsilon_alpha2_beta1"]
SWALLOWING = ["excitation_backprop", "lrp_montavon"]
"""On purpose: the one leaves biases out, the other has a large ε."""
VARIANTS = ["lrp_epsilon_plus_flat", "lrp_epsilon_alpha2_beta1_flat", "lrp_contrastive"]
"""Of the conserving ones, in the first layer or in what they start from."""


class Step:
    """A linear step of the network without its bias: forwards with other weights, and back."""

    def __init__(self, module: nn.Conv2d | nn.Linear) -> None:
        self.module, self.weight = module, module.weight
        self.bias = torch.zeros(len(self.weight)).to(self.weight) if module.bias is None else module.bias
        if isinstance(module, nn.Conv2d):
            self.bias = self.bias[:, None, None]
            self.settings = module.stride, module.padding, module.dilation, module.groups

    def __call__(self, values: Tensor, weight: Tensor) -> Tensor:
        if isinstance(self.module, nn.Linear):
            return F.linear(values, weight)
        return F.conv2d(values, weight, None, *self.settings)

    def back(self, values: Tensor, weight: Tensor, ratio: Tensor) -> Tensor:
        """Input times what comes back: each input's contributions, weighed with the ratios of the outputs."""
        leaf = torch.zeros_like(values).requires_grad_()
        with torch.enable_grad():
            return values * torch.autograd.grad(self(leaf, weight), leaf, ratio)[0]


@dataclass
class Share:
    """What became of the relevance of a step's outputs."""

    handed: Tensor
    kept: Tensor
    """By the bias, an output each."""
    swallowed: Tensor
    """By what was added to the denominator, an output each."""


def stabilized(values: Tensor, epsilon: float | Tensor = EPSILON) -> Tensor:
    return values + epsilon * torch.where(values >= 0, 1.0, -1.0).to(values)


def epsilon_rule(step: Step, x: Tensor, relevance: Tensor, epsilon: float | Tensor = EPSILON) -> Share:
    z = step(x, step.weight) + step.bias
    ratio = relevance / stabilized(z, epsilon)
    return Share(step.back(x, step.weight, ratio), step.bias * ratio, relevance - z * ratio)


def middle_rule(step: Step, x: Tensor, relevance: Tensor) -> Share:
    z = step(x, step.weight) + step.bias
    return epsilon_rule(step, x, relevance, 0.25 * z.square().mean(dim=tuple(range(1, z.ndim)), keepdim=True).sqrt())


def excitation_rule(step: Step, x: Tensor, relevance: Tensor) -> Share:
    parts = [(x.clamp(min=0), step.weight.clamp(min=0)), (x.clamp(max=0), step.weight.clamp(max=0))]
    z = sum(step(*part) for part in parts)
    ratio = relevance / stabilized(z)
    return Share(sum(step.back(*part, ratio) for part in parts), 0 * ratio, relevance - z * ratio)


def plus_rule(step: Step, x: Tensor, relevance: Tensor) -> Share:
    return alpha_beta_rule(step, x, relevance, alpha=1)


def alpha_beta_rule(step: Step, x: Tensor, relevance: Tensor, alpha: int = 2) -> Share:
    """Of both signs: α to one, 1 − α to the other. Of one sign: all to it."""
    above, below = (x.clamp(min=0), x.clamp(max=0)), (step.weight.clamp(min=0), step.weight.clamp(max=0))
    positive = [(above[0], below[0]), (above[1], below[1])]
    negative = [(above[0], below[1]), (above[1], below[0])]
    biases = step.bias.clamp(min=0), step.bias.clamp(max=0)
    z_positive, z_negative = (
        sum(step(*part) for part in parts) + bias for parts, bias in zip((positive, negative), biases, strict=True)
    )
    only_positive, only_negative = z_negative >= -EPSILON, z_positive <= EPSILON
    part_up = torch.where(only_positive, 1, torch.where(only_negative, 0, alpha))
    up, down = part_up * relevance / stabilized(z_positive), (1 - part_up) * relevance / stabilized(z_negative)
    handed = sum(step.back(*part, up) for part in positive) + sum(step.back(*part, down) for part in negative)
    return Share(handed, biases[0] * up + biases[1] * down, relevance - z_positive * up - z_negative * down)


def gamma_rule(step: Step, x: Tensor, relevance: Tensor) -> Share:
    """Montavon's formula where z is positive, its mirror image where z is negative (Andéol et al. 2021)."""
    z = step(x, step.weight) + step.bias
    handed, kept, swallowed = 0.0, 0.0, relevance
    for sign in (1, -1):
        weights = step.weight + 0.25 * sign * (sign * step.weight).clamp(min=0)
        opposite = step.weight - 0.25 * sign * (-sign * step.weight).clamp(min=0)
        parts = [(x.clamp(min=0), weights), (x.clamp(max=0), opposite)]
        bias = step.bias + 0.25 * sign * (sign * step.bias).clamp(min=0)
        total = sum(step(*part) for part in parts) + bias
        ratio = relevance * (sign * z > 0) / stabilized(total)
        handed = handed + sum(step.back(*part, ratio) for part in parts)
        kept, swallowed = kept + bias * ratio, swallowed - total * ratio
    return Share(handed, kept, swallowed)


def flat_rule(step: Step, x: Tensor, relevance: Tensor) -> Share:
    ones = torch.ones_like(x), torch.ones_like(step.weight)
    ratio = relevance / stabilized(step(*ones))
    return Share(step.back(*ones, ratio), 0 * ratio, relevance - step(*ones) * ratio)


def box_rule(step: Step, x: Tensor, relevance: Tensor, low: Tensor, high: Tensor) -> Share:
    low, high = low.expand_as(x), high.expand_as(x)
    parts = [(1, x, step.weight), (-1, low, step.weight.clamp(min=0)), (-1, high, step.weight.clamp(max=0))]
    z = sum(sign * step(*part) for sign, *part in parts)
    ratio = relevance / stabilized(z)
    handed = sum(sign * step.back(*part, ratio) for sign, *part in parts)
    return Share(handed, 0 * ratio, relevance - z * ratio)


def proportional(function: Callable[[Tensor], Tensor], x: Tensor, relevance: Tensor) -> Share:
    z = function(x)
    ratio = relevance / stabilized(z)
    leaf = x.clone().requires_grad_()
    with torch.enable_grad():
        handed = x * torch.autograd.grad(function(leaf), leaf, ratio)[0]
    return Share(handed, torch.zeros_like(z), relevance - z * ratio)


@dataclass
class Replica:
    """One explanation, step by step."""

    name: str
    model: nn.Module
    book: list[tuple[str, Tensor, Tensor, Tensor, Tensor]] = field(default_factory=list)
    """Of every step: its name; given, handed on, kept, swallowed, (N,) each."""
    left: list[Tensor] = field(default_factory=list)
    """After every step, (N,): the relevance on its way and all that was kept so far."""

    def start(self, logits: Tensor, targets: Tensor) -> Tensor:
        start = torch.zeros_like(logits)
        for row, target in enumerate(targets):
            start[row, target] = 1 if self.name == "excitation_backprop" else logits[row, target]
            if self.name == "lrp_contrastive":
                others = [index for index in range(logits.shape[1]) if index != target]
                start[row, others] = -logits[row, others] * logits[row, others].softmax(0)
        return start

    def rule(self, node: fx.Node, module: nn.Conv2d | nn.Linear) -> Callable[[Step, Tensor, Tensor], Share]:
        linear, name = isinstance(module, nn.Linear), self.name
        first = self.depth(node) == 1 and not channelwise(module)
        if name == "lrp_epsilon":
            return epsilon_rule
        if name == "excitation_backprop":
            return excitation_rule
        if name.endswith("flat") and first:
            return flat_rule
        if linear:
            return epsilon_rule
        if first and name in ("lrp_epsilon_gamma_box", "lrp_montavon"):
            normalize = self.model.preprocessing
            mean, deviation = (torch.tensor(part)[:, None, None] for part in (normalize.mean, normalize.std))
            low, high = (((end - mean) / deviation).double() for end in (0, 1))
            return lambda step, x, relevance: box_rule(step, x, relevance, low, high)
        if channelwise(module):
            return plus_rule
        if name == "lrp_montavon":
            return gamma_rule if self.depth(node) <= 7 / 16 * self.deepest else middle_rule
        rules = {"lrp_epsilon_gamma_box": gamma_rule, "lrp_epsilon_alpha2_beta1": alpha_beta_rule}
        return rules.get(name.removesuffix("_flat"), plus_rule)

    def depth(self, node: fx.Node) -> int:
        if node not in self.depths:
            module = self.rebuilt.get_submodule(node.target) if node.op == "call_module" else None
            counts = isinstance(module, nn.Conv2d | nn.Linear) and not channelwise(module)
            self.depths[node] = counts + max((self.depth(other) for other in node.all_input_nodes), default=0)
        return self.depths[node]

    def __call__(self, images: Tensor, targets: Tensor) -> Tensor:
        self.rebuilt, self.preprocessing = canonized(self.model)
        self.depths: dict[fx.Node, int] = {}
        nodes = list(self.rebuilt.graph.nodes)
        for node in nodes:  # in this order recursion stays shallow
            self.depth(node)
        self.deepest = self.depth(nodes[-1])
        values: dict[fx.Node, Any] = {}
        with torch.no_grad():
            for node in nodes:
                values[node] = images if node.op == "placeholder" else run(self.rebuilt, node, values)
        logits = values[nodes[-1]]
        waiting: dict[fx.Node, Tensor] = {nodes[-1].args[0]: self.start(logits, targets)}
        kept_so_far = torch.zeros(len(images)).double()
        for node in reversed(nodes[:-1]):
            if node.op == "placeholder" or node not in waiting:
                continue
            given = waiting.pop(node)
            handed, kept, swallowed = self.back(node, given, values)
            for source, relevance in handed.items():
                waiting[source] = waiting[source] + relevance if source in waiting else relevance
            kept_so_far += kept
            total = sum(total_of(relevance) for relevance in handed.values())
            self.book.append((str(node), total_of(given), total, kept, swallowed))
            on_its_way = sum(total_of(part) for one in waiting.values() for part in parts_of(one))
            self.left.append(on_its_way + kept_so_far)
        return waiting[nodes[0]].sum(1, keepdim=True)

    def back(self, node: fx.Node, given: Any, values: dict[fx.Node, Any]) -> tuple[dict[fx.Node, Any], Tensor, Tensor]:
        nothing = torch.zeros(len(total_of(given))).double()
        module = self.rebuilt.get_submodule(node.target) if node.op == "call_module" else None
        if module is None or isinstance(module, nn.MaxPool2d | nn.Flatten | nn.Dropout | nn.Identity):
            return gradient(self.rebuilt, node, values, given), nothing, nothing
        source = node.args[0]
        passes = isinstance(module, nn.ReLU | nn.ReLU6) or node.target in self.preprocessing
        if passes or (channelwise(module) and self.name == "excitation_backprop"):
            return {source: given}, nothing, nothing
        if isinstance(module, nn.Conv2d | nn.Linear):
            share = self.rule(node, module)(Step(module), values[source], given)
        else:  # mean or sum
            share = proportional(module, values[source], given)
        return {source: share.handed}, total_of(share.kept), total_of(share.swallowed)


def channelwise(module: nn.Module | None) -> bool:
    return isinstance(module, nn.Conv2d) and module.weight[0].numel() == 1


def parts_of(relevance: Any) -> tuple[Tensor, ...]:
    return relevance if isinstance(relevance, tuple) else (relevance,)


def total_of(relevance: Any) -> Tensor:
    return sum(part.flatten(1).sum(1) for part in parts_of(relevance))


def run(rebuilt: fx.GraphModule, node: fx.Node, values: dict[fx.Node, Any]) -> Any:
    args = fx.node.map_arg(node.args, lambda other: values[other])
    kwargs = fx.node.map_arg(node.kwargs, lambda other: values[other])
    if node.op == "call_module":
        return rebuilt.get_submodule(node.target)(*args, **kwargs)
    if node.op == "call_method":
        return getattr(args[0], node.target)(*args[1:], **kwargs)
    return args[0] if node.op == "output" else node.target(*args, **kwargs)


def gradient(rebuilt: fx.GraphModule, node: fx.Node, values: dict[fx.Node, Any], given: Any) -> dict[fx.Node, Any]:
    """What only moves values, or picks the largest: relevance goes where the value came from."""
    if isinstance(given, tuple):  # of broadcast tensors, none of which is broadcast here
        return add_up(zip(node.args, given, strict=True))
    if isinstance(values[node.all_input_nodes[0]], tuple):  # these stacked
        return {node.all_input_nodes[0]: given.unbind(-1)}
    sources = [other for other in node.all_input_nodes if isinstance(values[other], Tensor)]
    leaves = {other: values[other].clone().requires_grad_() for other in sources}
    with torch.enable_grad():
        found = torch.autograd.grad(run(rebuilt, node, {**values, **leaves}), list(leaves.values()), given)
    return dict(zip(sources, found, strict=True))


def add_up(pairs: Any) -> dict[fx.Node, Tensor]:
    sums: dict[fx.Node, Tensor] = {}
    for node, relevance in pairs:
        sums[node] = sums.get(node, 0) + relevance
    return sums


def check_logits(model: nn.Module, images: Tensor) -> None:
    """The canonized model's are the model's; in float32 to 1e-5, or to three times the model's own rounding error."""
    logits, canonized_logits = model(images), canonized(model)[0](images)
    model.double()
    exact = model(images.double())
    size = exact.abs().max()
    assert (canonized(model)[0](images.double()) - exact).abs().max() < 1e-9 * size
    model.float()
    assert (canonized_logits - logits).abs().max() < max(1e-5 * size, 3 * (logits - exact).abs().max())


def check(name: str, model: nn.Module, images: Tensor) -> None:
    check_logits(model, images)
    model, images = model.double(), images.double()
    targets = model(images).argmax(1)
    explainer = replace(getattr(lrp, name), epsilon=EPSILON)
    replica = Replica(name, model)
    wanted = replica(images, targets)
    maps = explainer(model, images, targets)
    assert (maps - wanted).abs().max() < 1e-6 * wanted.abs().max()
    start = replica.start(model(images), targets).sum(1)
    assert len(replica.book) > 10
    for step, given, handed, kept, swallowed in replica.book:
        scale = given.abs() + handed.abs() + kept.abs() + start.abs()
        assert ((given - handed - kept - swallowed).abs() < 1e-9 * scale).all(), step
    share = conservation(explainer, model, images, targets)
    torch.testing.assert_close(share.pixels, maps.sum((1, 2, 3)) / start)
    torch.testing.assert_close(share.biases, sum(kept for *_, kept, _ in replica.book) / start, rtol=1e-6, atol=1e-6)
    if name not in SWALLOWING:
        for (step, *_), left in zip(replica.book, replica.left, strict=True):
            assert ((left - start).abs() < 0.01 * start.abs()).all(), step
        assert ((share.pixels + share.biases - 1).abs() < 0.01).all()


def untrained(network: str) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return NETWORKS[network]().eval()


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", CONSERVING + SWALLOWING)
def test_relevance_is_conserved_between_every_two_modules(
    name: str, network: str, trained: Callable[..., nn.Module], draw: Draw
) -> None:
    check(name, trained(untrained(network)), draw(2, 64))


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", CONSERVING[:2])
def test_relevance_is_conserved_in_networks_as_they_are_initialised(name: str, network: str, draw: Draw) -> None:
    check(name, untrained(network), draw(2, 64))


@pytest.mark.parametrize("network", TASKS)
@pytest.mark.parametrize("name", CONSERVING + SWALLOWING + VARIANTS)
def test_relevance_is_conserved_in_networks_that_were_trained(name: str, network: str) -> None:
    task = TASKS[network]
    check(name, task.model(), next(iter(task.batches(2))).inputs[:, :, :64, :64])


@cache
def taught(network: str) -> dict[str, Tensor]:
    """Weights after a few steps of training on phantoms: those of the networks that no task here has."""
    part = phantom_brain_mri_vgg16.part("train")
    samples = [part[index] for index in range(24)]
    images = F.interpolate(torch.stack([sample.input for sample in samples]), size=64)
    labels = torch.stack([sample.label for sample in samples])
    model = untrained(network).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        losses = []
        for _ in range(12):
            loss = F.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert losses[-1] < losses[0]
    return model.state_dict()


@pytest.mark.parametrize("network", sorted(NETWORKS.keys() - TASKS.keys()))
@pytest.mark.parametrize("name", CONSERVING)
def test_relevance_is_conserved_in_networks_that_were_taught_here(name: str, network: str) -> None:
    model = untrained(network)
    model.load_state_dict(taught(network))
    check(name, model, next(iter(phantom_brain_mri_vgg16.batches(2))).inputs[:, :, :64, :64])


@pytest.mark.parametrize("network", sorted(NETWORKS.keys() - {"mobilenet_v2"}))
def test_epsilon_rule_is_preprocessed_pixel_times_gradient(
    network: str, trained: Callable[..., nn.Module], draw: Draw
) -> None:
    """On networks of ReLUs, and of what only the graph of the model itself says."""
    model, images = trained(untrained(network)).double(), draw(2, 64).double()
    preprocessed = model.preprocessing(images).requires_grad_()
    logits = model.network(preprocessed)
    targets = logits.argmax(1)
    gradients = torch.autograd.grad(logits.gather(1, targets[:, None]).sum(), preprocessed)[0]
    wanted = (preprocessed * gradients).sum(1, keepdim=True).detach()
    maps = replace(lrp.lrp_epsilon, epsilon=1e-12)(model, images, targets)
    torch.testing.assert_close(maps, wanted, rtol=1e-5, atol=float(1e-6 * wanted.abs().max()))


def test_uncanonized_sums_are_powers_of_two(draw: Draw, trained: Callable[..., nn.Module]) -> None:
    """A ResNet-18 has 8 sums, a ResNet-50 has 16."""
    for network, n_sums in (("resnet18", 8), ("resnet50", 16)):
        model = trained(untrained(network))
        share = conservation(lrp.lrp_epsilon_plus_uncanonized, model, draw(2, 64), torch.tensor([0, 1]))
        assert ((share.pixels / 2**n_sums - 1).abs() < 0.2).all()
