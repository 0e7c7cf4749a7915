"""CRP a second time: a concept at a time through LRP written out by hand; attributing twice; sums over all concepts."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision import models
from torchvision.transforms import Normalize
from zennit.attribution import Gradient

from explainers import crp
from explainers.base import InapplicableError
from explainers.bottlenecks import bottlenecks, called, step_called
from explainers.canonizers import canonized
from explainers.crp import CRP, concepts, conditional, crp_deep, crp_middle, crp_shallow, ranked
from explainers.lrp import LRPEpsilonPlusFlat, lrp_epsilon_plus, lrp_epsilon_plus_flat
from tasks.networks.architectures import densenet121, resnet18, resnet50, vgg16, with_preprocessing

EPSILON = 1e-6
SIDE = 8
ENTRIES = {name: entry for name, entry in vars(crp).items() if isinstance(entry, CRP)}
Build = Callable[[str], nn.Module]
Draw = Callable[..., Tensor]
Train = Callable[..., nn.Module]

REAL: dict[str, Callable[[], nn.Module]] = {
    "resnet18": lambda: resnet18(5, width=1 / 8),
    "resnet50": lambda: resnet50(5, width=1 / 16),
    "densenet121": lambda: densenet121(5, width=1 / 16),
    "vgg16": lambda: vgg16(5, width=1 / 8, pooled=2, hidden=16),
}
LAYERS = {
    "plain": ("5", "2", "2"),
    "in_place": ("relu_2()", "relu@1", "relu"),
    "residual": ("6", "5", "3"),
    "dense": ("relu_3()", "cat_1()", "stem"),
    "squeezenet": ("network.features", "network.features.8", "network.features.5.squeeze_activation"),
    "vgg": ("network.features.29", "network.features.20", "network.features.8"),
    "resnet18": ("network.layer4", "network.layer3.0", "network.layer1"),
    "resnet50": ("network.layer4", "network.layer3.3", "network.layer2.1"),
    "densenet121": ("network.relu()", "network.features.transition3.relu", "network.features.transition2.conv"),
    "vgg16": ("network.features.29", "network.features.20", "network.features.8"),
}
"""Deep, middle and shallow. Depths of the deepest: 2, 3, 5, 4, 17, 13, 17, 49, 120, 13."""
WITH_A_WAY_ROUND = {
    "residual": "6.convolution2",
    "dense": "convolutions.1",
    "squeezenet": "network.features.12.expand3x3",
    "resnet18": "network.layer4.1.conv2",
    "resnet50": "network.layer3.2.conv2",
    "densenet121": "network.features.denseblock3.denselayer8.conv2",
}
"""A convolution in a branch."""
PLACES = [(name, layer) for name, layers in LAYERS.items() for layer in dict.fromkeys(layers)]
every_place = pytest.mark.parametrize(("name", "layer"), [*PLACES, *WITH_A_WAY_ROUND.items()])


@pytest.fixture
def made(build: Build, trained: Train) -> Build:
    """A toy network or a real one, narrow, with random weights."""

    def make(name: str) -> nn.Module:
        if name not in REAL:
            return build(name)
        with torch.random.fork_rng():
            return trained(REAL[name]())

    return make


@pytest.fixture
def shown(draw: Draw) -> Callable[[str], Tensor]:
    """Two images of the size that a network wants."""
    return lambda name: draw(2, 64 if name in REAL or name in ("vgg", "squeezenet") else 16)


TARGETS = torch.tensor([1, 2])
"""For the two images."""


def close(maps: Tensor, wanted: Tensor, tolerance: float, scale: Tensor | None = None) -> bool:
    return bool((maps - wanted).abs().max() <= tolerance * (wanted if scale is None else scale).abs().max())


def attributed(model: nn.Module, images: Tensor, targets: Tensor, layer: str, kept: Tensor | float) -> Tensor:
    """LRP with the relevance of the layer's outputs multiplied by `kept`; what goes round the layer stays."""
    network, composite = lrp_epsilon_plus_flat.ruled(model, images)
    step = step_called(canonized(model)[0], layer)
    assert step.op == "call_module", "the hook needs a module"

    def mask(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        output.register_hook(lambda relevance: relevance * kept)

    with Gradient(network, composite) as attributor:
        handle = network.get_submodule(step.target).register_forward_hook(mask)
        try:
            start = lrp_epsilon_plus_flat.start(model(images), targets)
            return attributor(images.clone(), start)[1].sum(1, keepdim=True)
        finally:
            handle.remove()


def all_concepts(model: nn.Module, images: Tensor, targets: Tensor, layer: str) -> Tensor:
    """(N, C, H, W)"""
    n_channels = concepts(model, images, targets, layer).shape[1]
    return conditional(model, images, targets, layer, torch.arange(n_channels).expand(len(images), -1))


class Slow:
    """Two convolutions and a linear layer, each rule as it is printed, one image and one channel at a time."""

    def __init__(self, model: nn.Module, image: Tensor, target: int) -> None:
        normalize, self.first, relu, pool, self.second, _, mean, flatten, linear = model
        self.pixels = normalize(image[None])
        self.after_first = relu(self.first(self.pixels))
        self.pooled = pool(self.after_first)
        self.after_second = relu(self.second(self.pooled))
        features = flatten(mean(self.after_second))
        logit = linear(features)[0, target]
        contributions = features * linear.weight[target]
        of_means = contributions * logit / (logit + EPSILON * logit.sign())
        each = self.after_second / 4
        total = mean(self.after_second)
        shared = of_means.view_as(total) / (total + EPSILON)
        self.deep = each * shared.repeat_interleave(2, 2).repeat_interleave(2, 3)

    def z_plus(self, conv: nn.Conv2d, values: Tensor, relevance: Tensor) -> Tensor:
        """Inputs behind ReLUs: none is negative."""
        weights = conv.weight.clamp(min=0)
        z = F.conv2d(values, weights, conv.bias.clamp(min=0), padding=1)
        return values * F.conv_transpose2d(relevance / (z + EPSILON), weights, padding=1)

    def shallow(self, relevance: Tensor) -> Tensor:
        """From the second layer's output to the first's: max pooling hands all to the winner."""
        handed = self.z_plus(self.second, self.pooled, relevance)
        winners = torch.zeros_like(self.after_first)
        for channel, row, column in torch.cartesian_prod(*map(torch.arange, self.pooled.shape[1:])).tolist():
            window = self.after_first[0, channel, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            down, right = divmod(int(window.argmax()), 2)
            winners[0, channel, 2 * row + down, 2 * column + right] = handed[0, channel, row, column]
        return winners

    def to_pixels(self, relevance: Tensor) -> Tensor:
        ones = torch.ones_like(self.first.weight)
        n_seen = F.conv2d(torch.ones_like(self.pixels), ones, padding=1)
        return F.conv_transpose2d(relevance / (n_seen + EPSILON), ones, padding=1).sum(1)[0]


def only(relevance: Tensor, channel: int) -> Tensor:
    return torch.stack([maps * (place == channel) for place, maps in enumerate(relevance[0])])[None]


@pytest.fixture
def small(trained: Train) -> nn.Module:
    layers = (nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 5, 3, padding=1), nn.ReLU())
    head = (nn.AvgPool2d(2), nn.Flatten(), nn.Linear(20, 4))
    return trained(nn.Sequential(Normalize((0.5, 0.4, 0.3), (0.25, 0.3, 0.2)), *layers, *head)).double()


def test_concepts_and_their_maps_are_the_rules_by_hand(small: nn.Module, draw: Draw, targets: Tensor) -> None:
    images = draw(4, SIDE).double()
    for index, image in enumerate(images):
        slow, one, target = Slow(small, image, int(targets[index])), image[None], targets[index : index + 1]
        for layer, relevance, back in (
            ("5", slow.deep, lambda part, slow=slow: slow.to_pixels(slow.shallow(part))),
            ("2", slow.shallow(slow.deep), slow.to_pixels),
        ):
            by_channel = [float(relevance[0, channel].sum()) for channel in range(relevance.shape[1])]
            wanted = [back(only(relevance, channel)) for channel in range(relevance.shape[1])]
            found = concepts(small, one, target, layer)[0]
            torch.testing.assert_close(found, found.new_tensor(by_channel), rtol=1e-9, atol=1e-9)
            channels = torch.arange(len(wanted))[None]
            assert close(conditional(small, one, target, layer, channels)[0], torch.stack(wanted), 1e-9)
            sign = -1 if sum(by_channel) < 0 else 1
            best = sorted(range(len(wanted)), key=lambda at, by=by_channel, sign=sign: (-sign * by[at], at))[:2]
            entry = CRP(depth=1.0 if layer == "5" else 0.5, n_concepts=2)
            assert close(entry(small, one, target)[0, 0], wanted[best[0]] + wanted[best[1]], 1e-9)


@every_place
def test_concepts_of_a_layer_add_up_to_what_goes_through_it(
    name: str, layer: str, made: Build, shown: Callable[[str], Tensor]
) -> None:
    model, images, targets = made(name), shown(name)[:1], TARGETS[:1]
    for kind, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-11)):
        model, images = model.to(kind), images.to(kind)
        added = all_concepts(model, images, targets, layer).sum(1, keepdim=True)
        whole = lrp_epsilon_plus_flat(model, images, targets)
        if layer in LAYERS[name]:
            assert close(added, whole, tolerance)
        else:
            through = whole - attributed(model, images, targets, layer, 0.0)
            rounding = 10 * tolerance  # a difference of two maps is itself less exact
            assert close(added, through, rounding, scale=whole)
            assert not close(added, whole, 0.05), "some goes round"


@pytest.mark.parametrize(("name", "layer"), [*WITH_A_WAY_ROUND.items(), ("vgg", "network.features.19")])
def test_a_concept_is_what_attributing_twice_gives(
    name: str, layer: str, made: Build, shown: Callable[[str], Tensor]
) -> None:
    model, images = made(name).double(), shown(name).double()
    by_channel = concepts(model, images, TARGETS, layer)
    channels = ranked(by_channel)[:, [0, 1, -1]]
    maps = conditional(model, images, TARGETS, layer, channels)
    assert maps[:, 0].any()
    nothing = attributed(model, images, TARGETS, layer, 0.0)
    assert nothing.any() == (name != "vgg"), "only what goes round is left"
    for place, of_images in enumerate(channels.unbind(1)):
        kept = F.one_hot(of_images, by_channel.shape[1])[:, :, None, None]
        conditioned = attributed(model, images, TARGETS, layer, kept)
        assert close(maps[:, place : place + 1], conditioned - nothing, 1e-10, scale=conditioned)


@pytest.mark.parametrize("name", LAYERS)
def test_layers_are_found_by_their_depth(name: str, made: Build, shown: Callable[[str], Tensor]) -> None:
    model, images = made(name), shown(name)
    found = tuple(entry.describe(model, images)["layer"] for entry in (crp_deep, crp_middle, crp_shallow))
    assert found == LAYERS[name]


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_map_is_the_sum_of_its_concepts_maps(entry: str, network: nn.Module, images: Tensor, targets: Tensor) -> None:
    network, images, explainer = network.double(), images.double(), ENTRIES[entry]
    layer = explainer.describe(network, images)["layer"]
    by_channel = concepts(network, images, targets, layer)
    best = ranked(by_channel)[:, : explainer.n_concepts]
    wanted = conditional(network, images, targets, layer, best).sum(1, keepdim=True)
    assert close(explainer(network, images, targets), wanted, 1e-10)
    everything = replace(explainer, n_concepts=10_000)(network, images, targets)
    assert close(everything, lrp_epsilon_plus_flat(network, images, targets), 1e-12)


def test_equal_concepts_are_ranked_by_channel() -> None:
    relevance = torch.tensor([[0.0, 2.0, 2.0, -1.0, 2.0], [1.0, 1.0, 1.0, 1.0, 3.0]])
    assert ranked(relevance).tolist() == [[1, 2, 4, 0, 3], [4, 0, 1, 2, 3]]
    assert ranked(torch.zeros(1, 30)).tolist() == [list(range(30))]


def test_of_a_decision_against_the_class_the_concepts_are_against_it() -> None:
    assert ranked(torch.tensor([[-3.0, 1.0, 0.0, -3.0, -4.0]])).tolist() == [[4, 0, 3, 2, 1]]


def test_the_strongest_neuron_has_a_part_of_its_channels_map(build: Build, draw: Draw, targets: Tensor) -> None:
    model, images = build("plain").double(), draw(4).double()
    channels = ranked(concepts(model, images, targets, "5"))[:, :1]
    whole = conditional(model, images, targets, "5", channels)
    one = conditional(model, images, targets, "5", channels, strongest=True)
    # A neuron behind convolution, pooling of 2 and convolution sees 8 x 8 pixels, all of a channel's the 16 x 16.
    assert ((one != 0).sum((2, 3)) <= 64).all()
    assert (one != 0).any((2, 3)).all()
    assert not close(one, whole, 0.1)


def test_how_many_go_back_at_a_time_does_not_matter(
    build: Build, draw: Draw, targets: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, images, channels = build("dense").double(), draw(4).double(), torch.arange(13).expand(4, -1)
    whole = conditional(model, images, targets, "relu_3()", channels)
    for at_once in (1, 9, 1000):
        monkeypatch.setattr(crp, "AT_ONCE", at_once)
        assert close(conditional(model, images, targets, "relu_3()", channels), whole, 1e-12)


def test_the_rules_may_be_others(build: Build, draw: Draw, targets: Tensor) -> None:
    model, images = build("residual").double(), draw(4).double()
    every = CRP(n_concepts=100, base=lrp_epsilon_plus)
    assert close(every(model, images, targets), lrp_epsilon_plus(model, images, targets), 1e-12)
    assert not close(every(model, images, targets), lrp_epsilon_plus_flat(model, images, targets), 0.1)


def test_a_negative_channel_is_no_concept_of_the_decision(trained: Train, draw: Draw) -> None:
    """Logit = 2 · mean(red) − mean(green) + mean(blue): red speaks for it, then blue; green speaks against it."""
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 1))
    model = trained(model).double()
    model[0].weight.data, model[0].bias.data = torch.eye(3).double()[..., None, None], torch.zeros(3).double()
    model[4].weight.data, model[4].bias.data = torch.tensor([[2.0, -1.0, 1.0]]).double(), torch.zeros(1).double()
    images = draw(1, SIDE).double()
    targets = torch.tensor([0])
    means = images.mean((2, 3))[0]
    found = concepts(model, images, targets, "1")[0]
    torch.testing.assert_close(found, means * torch.tensor([2.0, -1.0, 1.0]), rtol=1e-4, atol=0)
    assert ranked(found[None])[0, -1] == 1
    # A layer of 1 x 1 is flat over the three colours of its pixel.
    torch.testing.assert_close(
        CRP(n_concepts=1)(model, images, targets)[:, 0], 2 * images[:, 0] / 64, rtol=1e-4, atol=0
    )


class OneWayRound(nn.Module):
    """The pixels go round every convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.linear = nn.Conv2d(3, 3, 3, padding=1), nn.Linear(2 * 3 * SIDE**2, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.linear(torch.cat([self.convolution(inputs).flatten(1), inputs.flatten(1)], dim=1))


def test_networks_without_such_a_layer_are_inapplicable_with_a_reason(trained: Train, draw: Draw) -> None:
    around = trained(OneWayRound())
    perceptron = trained(nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE**2, 4), nn.ReLU(), nn.Linear(4, 2)))
    for model in (around, perceptron):
        with pytest.raises(InapplicableError, match="no layer of more than one pixel"):
            crp_deep(model, draw(2, SIDE), torch.tensor([0, 1]))
    assert crp_deep.inapplicable(perceptron) == "there is a way round every feature map of the model"
    unruled = nn.Sequential(nn.Conv2d(3, 2, 3), nn.SiLU(), nn.Flatten(), nn.Linear(72, 2))
    assert crp_deep.inapplicable(unruled) == lrp_epsilon_plus_flat.inapplicable(unruled) == "no rule for SiLU 1"


def test_maps_of_one_pixel_are_no_layer(trained: Train, draw: Draw) -> None:
    convolutions = (nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 6), nn.ReLU(), nn.Flatten(), nn.Linear(5, 2))
    model = trained(nn.Sequential(*convolutions))
    assert crp_deep.describe(model, draw(1, SIDE)) == {"layer": "1"}


def test_maps_that_are_the_logits_are_no_layer(trained: Train, draw: Draw) -> None:
    head = (nn.Conv2d(4, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model = trained(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), *head))
    assert crp_deep.describe(model, draw(1, SIDE)) == {"layer": "1"}


@pytest.mark.parametrize(
    ("build_network", "n_found", "deepest"),
    [
        (lambda: models.mobilenet_v2(weights=None), 32, "network.features"),
        (lambda: models.googlenet(weights=None, init_weights=False, aux_logits=False), 12, "network.inception5b"),
        (lambda: models.alexnet(weights=None), 5, "network.features.11"),
    ],
)
def test_bottlenecks_of_other_networks(build_network: Callable[[], nn.Module], n_found: int, deepest: str) -> None:
    """AlexNet and GoogLeNet by their papers; MobileNet-V2: a stem and a last layer, 17 blocks in two or three layers,
    of which the inner ones of the 10 blocks with a shortcut have a way round."""
    with torch.random.fork_rng():
        rebuilt, _ = canonized(with_preprocessing(build_network()).eval())
    found = bottlenecks(rebuilt)
    assert len(found) == n_found
    assert called(rebuilt, list(found)[-1]) == deepest
    assert sorted(found.values()) == list(found.values())


@pytest.mark.parametrize(
    ("layer", "channels", "complaint"),
    [
        ("nowhere", torch.zeros(2, 1, dtype=torch.int64), "no layer 'nowhere'"),
        ("8", torch.zeros(2, 1, dtype=torch.int64), r"8 puts out no \(N, C, h, w\) maps"),
        ("5", torch.zeros(1, 1, dtype=torch.int64), r"\(2, k\) int64, not \(1, 1\)"),
        ("5", torch.zeros(2, dtype=torch.int64), r"\(2, k\) int64, not \(2,\)"),
        ("5", torch.zeros(2, 1), "float32"),
        ("5", torch.full((2, 1), 8), "channels 0 to 7, not"),
        ("5", torch.full((2, 1), -1), "channels 0 to 7, not"),
    ],
)
def test_wrong_arguments_are_named(layer: str, channels: Tensor, complaint: str, build: Build, draw: Draw) -> None:
    with pytest.raises(ValueError, match=complaint):
        conditional(build("plain"), draw(2), TARGETS, layer, channels)


def test_functions_leave_nothing_behind(build: Build, draw: Draw, traces: Callable, same: Callable) -> None:
    model, images = build("residual"), draw(2)
    before = traces(model, images, TARGETS)
    concepts(model, images, TARGETS, "6")
    conditional(model, images, TARGETS, "6", torch.zeros(2, 1, dtype=torch.int64))
    with torch.no_grad():
        assert conditional(model, images, TARGETS, "6", torch.zeros(2, 1, dtype=torch.int64)).shape == (2, 1, 16, 16)
    with pytest.raises(ValueError, match="no layer"):
        concepts(model, images, TARGETS, "nowhere")
    assert same(before, traces(model, images, TARGETS))


def test_the_base_is_the_composite_of_the_study() -> None:
    assert all(isinstance(entry.base, LRPEpsilonPlusFlat) for entry in ENTRIES.values())
    assert {entry.n_concepts for entry in ENTRIES.values()} == {5}
