"""LRP a second time: every layer an explicit matrix, every rule as it is printed; zennit's own beside it.

The rules, for a layer z = W a + b with relevance R of its outputs:
- epsilon: R_j = a_j Σ_k W_kj R_k / (z_k + ε sign z_k);
- z⁺: the same with the positive contributions (W a)⁺ in place of W a, and b⁺ in place of b;
- αβ: α times that, minus β times the same for the negative ones; all to one sign where there is no other;
- γ: the same with contributions and bias of the sign of z times 1 + γ;
- box: with W a − W⁺ low − W⁻ high, and no bias;
- flat: R_j = Σ_k (R_k / number of inputs that k sees);
- maximum: all to the winner; mean and sum: in proportion.
"""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.transforms import Normalize
from zennit.attribution import Gradient
from zennit.composites import (
    EpsilonAlpha2Beta1,
    EpsilonAlpha2Beta1Flat,
    EpsilonGammaBox,
    EpsilonPlus,
    EpsilonPlusFlat,
    LayerMapComposite,
    layer_map_base,
)
from zennit.composites import ExcitationBackprop as Excitation
from zennit.core import Composite
from zennit.rules import Epsilon, Pass

from explainers import lrp
from explainers.canonizers import canonized
from explainers.lrp import LRPEpsilonPlus, lrp_contrastive, lrp_epsilon_plus
from explainers.rules import layers

EPSILON = 1e-6
SIDE = 8
MEAN, DEVIATION = (0.5, 0.4, 0.3), (0.25, 0.3, 0.2)
Build = Callable[[str], nn.Module]
Draw = Callable[..., Tensor]
Matrix = np.ndarray


def as_matrix(layer: nn.Module, shape: tuple[int, ...]) -> tuple[Matrix, Matrix]:
    """Weights (outputs, inputs) and bias of a layer that is linear, found by asking it for unit vectors."""
    size = int(np.prod(shape))
    with torch.no_grad():
        bias = layer(torch.zeros(1, *shape, dtype=torch.float64)).flatten()
        units = layer(torch.eye(size, dtype=torch.float64).view(size, *shape)).flatten(1)
    return (units - bias).T.numpy(), bias.numpy()


def explicit_convolution(layer: nn.Conv2d, shape: tuple[int, ...]) -> tuple[Matrix, Matrix]:
    """The same for a convolution of step 1, by its definition: one loop an index."""
    channels, height, width = shape
    weight, pad = layer.weight.detach().numpy(), layer.padding[0]
    n_outputs, _, side, _ = weight.shape
    rows, columns = height + 2 * pad - side + 1, width + 2 * pad - side + 1
    matrix = np.zeros((n_outputs, rows, columns, channels, height, width))
    for row, column, down, right in np.ndindex(rows, columns, side, side):
        y, x = row + down - pad, column + right - pad
        if 0 <= y < height and 0 <= x < width:
            matrix[:, row, column, :, y, x] = weight[:, :, down, right]
    return matrix.reshape(n_outputs * rows * columns, -1), layer.bias.detach().numpy().repeat(rows * columns)


def stabilized(values: Matrix) -> Matrix:
    return values + EPSILON * np.where(values >= 0, 1.0, -1.0)


def epsilon_rule(weights: Matrix, bias: Matrix, a: Matrix, relevance: Matrix) -> Matrix:
    return a * (weights.T @ (relevance / stabilized(weights @ a + bias)))


def z_plus_rule(weights: Matrix, bias: Matrix, a: Matrix, relevance: Matrix) -> Matrix:
    contributions = np.maximum(weights * a, 0)  # positive times positive and negative times negative
    return contributions.T @ (relevance / stabilized(contributions.sum(1) + np.maximum(bias, 0)))


def excitation_rule(weights: Matrix, bias: Matrix, a: Matrix, relevance: Matrix) -> Matrix:
    return z_plus_rule(weights, 0 * bias, a, relevance)


def alpha2_beta1_rule(weights: Matrix, bias: Matrix, a: Matrix, relevance: Matrix) -> Matrix:
    contributions = np.column_stack([weights * a, bias])
    shares = np.zeros_like(contributions)
    for row, relevance_of_one in zip(range(len(shares)), relevance, strict=True):
        positive, negative = np.maximum(contributions[row], 0), np.minimum(contributions[row], 0)
        alpha, beta = (2, 1) if positive.any() and negative.any() else ((1, 0) if positive.any() else (0, -1))
        shares[row] = alpha * positive / stabilized(positive.sum()) - beta * negative / stabilized(negative.sum())
        shares[row] *= relevance_of_one
    return shares[:, :-1].sum(0)


def gamma_rule(weights: Matrix, bias: Matrix, a: Matrix, relevance: Matrix) -> Matrix:
    contributions = np.column_stack([weights * a, bias])
    same_sign = np.sign(contributions) == np.sign(contributions.sum(1, keepdims=True))
    contributions *= 1 + 0.25 * same_sign
    return (contributions / stabilized(contributions.sum(1, keepdims=True))).T[:-1] @ relevance


def box_rule(weights: Matrix, bias: Matrix, a: Matrix, relevance: Matrix) -> Matrix:  # noqa: ARG001
    """For the preprocessing of `small`."""
    low, high = (((end - np.array(MEAN)) / np.array(DEVIATION)).repeat(SIDE**2) for end in (0, 1))
    contributions = weights * a - np.maximum(weights, 0) * low - np.minimum(weights, 0) * high
    return (contributions / stabilized(contributions.sum(1, keepdims=True))).T @ relevance


def middle_rule(weights: Matrix, bias: Matrix, a: Matrix, relevance: Matrix) -> Matrix:
    z = weights @ a + bias
    return a * (weights.T @ (relevance / (z + 0.25 * np.sqrt(np.mean(z**2)) * np.where(z >= 0, 1, -1))))


def flat_rule(weights: Matrix, bias: Matrix, a: Matrix, relevance: Matrix) -> Matrix:  # noqa: ARG001
    seen = (weights != 0).astype(float)
    return seen.T @ (relevance / (seen.sum(1) + EPSILON))


def max_rule(a: Matrix, relevance: Matrix) -> Matrix:
    """(C, H, W) activations; windows of 2 x 2."""
    handed = np.zeros_like(a)
    for channel, row, column in np.ndindex(a.shape[0], a.shape[1] // 2, a.shape[2] // 2):
        window = a[channel, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        down, right = np.unravel_index(window.argmax(), (2, 2))
        handed[channel, 2 * row + down, 2 * column + right] = relevance[channel, row, column]
    return handed


RULES = {
    "lrp_epsilon": (epsilon_rule, epsilon_rule, epsilon_rule),
    "lrp_epsilon_plus": (z_plus_rule, z_plus_rule, epsilon_rule),
    "lrp_epsilon_plus_flat": (flat_rule, z_plus_rule, epsilon_rule),
    "lrp_epsilon_gamma_box": (box_rule, gamma_rule, epsilon_rule),
    "lrp_epsilon_alpha2_beta1": (alpha2_beta1_rule, alpha2_beta1_rule, epsilon_rule),
    "lrp_epsilon_alpha2_beta1_flat": (flat_rule, alpha2_beta1_rule, epsilon_rule),
    "excitation_backprop": (excitation_rule, excitation_rule, excitation_rule),
    "lrp_montavon": (box_rule, middle_rule, epsilon_rule),
    "lrp_contrastive": (z_plus_rule, z_plus_rule, epsilon_rule),
    "lrp_epsilon_plus_uncanonized": (z_plus_rule, z_plus_rule, epsilon_rule),
}
"""Of the three layers of `small`, from the pixels on; it needs no canonization."""


def slow(name: str, model: nn.Module, image: Tensor, target: int) -> Matrix:
    """Convolution, ReLU, max pool, convolution, ReLU, average pool, linear layer: the map of one image."""
    normalize, first, relu, pool, second, _, mean, flatten, linear = model
    a0 = normalize(image[None])
    a1 = relu(first(a0))
    a2 = pool(a1)
    a3 = relu(second(a2))
    a4 = mean(a3)
    x0, x2, x3, x4 = (maps.detach().numpy().ravel() for maps in (a0, a2, a3, a4))
    logits = linear(flatten(a4))[0].detach().numpy()
    relevance = np.where(np.arange(len(logits)) == target, logits, 0)
    if name == "excitation_backprop":
        relevance = np.eye(len(logits))[target]
    if name == "lrp_contrastive":
        rivals = np.exp(logits) * (np.arange(len(logits)) != target)
        relevance = relevance - logits * rivals / rivals.sum()
    of_first, of_second, of_linear = RULES[name]
    relevance = of_linear(linear.weight.detach().numpy(), linear.bias.detach().numpy(), x4, relevance)
    relevance = epsilon_rule(*as_matrix(mean, a3.shape[1:]), x3, relevance)
    relevance = of_second(*explicit_convolution(second, a2.shape[1:]), x2, relevance)
    relevance = max_rule(a1[0].detach().numpy(), relevance.reshape(a2.shape[1:])).ravel()
    relevance = of_first(*explicit_convolution(first, a0.shape[1:]), x0, relevance)
    return relevance.reshape(image.shape).sum(0)


def without_biases(model: nn.Module) -> nn.Module:
    """Every bias 0, and every batch norm a scaling, so that there is nothing that keeps relevance."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear | nn.BatchNorm2d) and module.bias is not None:
            module.bias.data.zero_()
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.zero_()
    return model


def logit(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    return model(images).gather(1, targets[:, None])[:, 0]


@pytest.fixture
def small(trained: Callable[..., nn.Module]) -> nn.Module:
    layers = (nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 5, 3, padding=1), nn.ReLU())
    head = (nn.AvgPool2d(2), nn.Flatten(), nn.Linear(20, 4))
    return trained(nn.Sequential(Normalize(MEAN, DEVIATION), *layers, *head)).double()


def test_convolution_as_a_matrix_is_the_convolution(small: nn.Module, draw: Draw) -> None:
    weights, bias = explicit_convolution(small[1], (3, SIDE, SIDE))
    np.testing.assert_allclose(weights, as_matrix(small[1], (3, SIDE, SIDE))[0], atol=1e-12)
    image = draw(1, SIDE).double()
    np.testing.assert_allclose(weights @ image.numpy().ravel() + bias, small[1](image).numpy().ravel(), atol=1e-12)


@pytest.mark.parametrize("name", RULES)
def test_map_is_the_rules_in_matrix_form(name: str, small: nn.Module, draw: Draw, targets: Tensor) -> None:
    images = draw(4, SIDE).double()
    maps = getattr(lrp, name)(small, images, targets)
    for index, image in enumerate(images):
        wanted = slow(name, small, image, int(targets[index]))
        np.testing.assert_allclose(maps[index, 0].numpy(), wanted, atol=1e-10 * np.abs(wanted).max())


def test_every_entry_has_its_rules_here() -> None:
    assert RULES.keys() == {name for name, entry in vars(lrp).items() if isinstance(entry, lrp.Propagation)}


def test_linear_model_is_input_times_weight(trained: Callable[..., nn.Module], draw: Draw, targets: Tensor) -> None:
    images = draw(4, SIDE).double()
    model = trained(nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE**2, 4))).double()
    weights = model[1].weight[targets].view_as(images)
    z = logit(model, images, targets)
    for epsilon in (1e-6, 0.3):
        share = (z / (z + epsilon * z.sign())).view(-1, 1, 1, 1)
        wanted = (images * weights).sum(1, keepdim=True) * share
        torch.testing.assert_close(LRPEpsilonPlus(epsilon=epsilon)(model, images, targets), wanted)


def test_sum_of_branches_is_shared_in_proportion(draw: Draw) -> None:
    class TwoBranches(nn.Module):
        """Logit = Σ (2 x + 3 x), all positive: each branch has its share, and the pixel 5 x in all."""

        def __init__(self) -> None:
            super().__init__()
            self.twice, self.thrice = (nn.Conv2d(3, 3, 1, groups=3, bias=False) for _ in range(2))
            nn.init.constant_(self.twice.weight, 2.0)
            nn.init.constant_(self.thrice.weight, 3.0)
            self.linear = nn.Linear(3 * SIDE**2, 2, bias=False)
            nn.init.ones_(self.linear.weight)

        def forward(self, inputs: Tensor) -> Tensor:
            maps = self.twice(inputs) + self.thrice(inputs)
            return self.linear((maps + inputs).flatten(1))

    images = draw(2, SIDE).double()
    maps = lrp_epsilon_plus(TwoBranches().double(), images, torch.tensor([0, 1]))
    torch.testing.assert_close(maps, 6 * images.sum(1, keepdim=True), rtol=1e-4, atol=1e-4)


CONSERVING = [name for name in RULES if name not in ("lrp_montavon", "lrp_epsilon_plus_uncanonized")]


@pytest.mark.parametrize("name", CONSERVING)
@pytest.mark.parametrize("network", ["plain", "in_place", "residual", "dense"])
def test_relevance_is_conserved_where_there_is_no_bias(
    name: str, network: str, build: Build, draw: Draw, targets: Tensor
) -> None:
    if (name, network) == ("excitation_backprop", "residual"):
        pytest.skip("a branch's negative neuron in a positive sum has no excitation to hand on")
    model, images, explainer = without_biases(build(network)).double(), draw(4).double(), getattr(lrp, name)
    ratio = explainer(model, images, targets).sum((1, 2, 3)) / explainer.start(model(images), targets).sum(1)
    torch.testing.assert_close(ratio, torch.ones(4).double(), atol=0.01, rtol=0)


def box(model: nn.Module) -> dict[str, Tensor]:
    return {key: model[0](torch.full((1, 3, 1, 1), value).double()) for key, value in (("low", 0.0), ("high", 1.0))}


ZENNITS: dict[str, Callable[..., Composite]] = {
    "lrp_epsilon": lambda layer_map: LayerMapComposite(
        layer_map + layer_map_base() + [((nn.Conv2d, nn.Linear), Epsilon())]
    ),
    "lrp_epsilon_plus": EpsilonPlus,
    "lrp_epsilon_plus_flat": EpsilonPlusFlat,
    "lrp_epsilon_gamma_box": EpsilonGammaBox,
    "lrp_epsilon_alpha2_beta1": EpsilonAlpha2Beta1,
    "lrp_epsilon_alpha2_beta1_flat": EpsilonAlpha2Beta1Flat,
    "excitation_backprop": lambda layer_map: Excitation(layer_map=[*layer_map], zero_params="bias"),
    "lrp_contrastive": EpsilonPlus,
    "lrp_epsilon_plus_uncanonized": EpsilonPlus,
}


RIGHT_FOR_ZENNIT = ("plain", "vgg", "squeezenet")
"""Networks that need no canonization: nothing but modules, each used once, no batch norm."""


@pytest.mark.parametrize("network", RIGHT_FOR_ZENNIT)
@pytest.mark.parametrize("name", ZENNITS)
def test_zennit_says_the_same(name: str, network: str, build: Build, draw: Draw, targets: Tensor) -> None:
    if network == "squeezenet" and "alpha" in name:
        pytest.skip("some of its units have contributions of one sign only: zennit's map sums to 5 % too much")
    model, explainer = build(network).double(), getattr(lrp, name)
    images = draw(4, 16 if network == "plain" else 64).double()
    settings = box(model) if name == "lrp_epsilon_gamma_box" else {}
    composite = ZENNITS[name](layer_map=[((Normalize,), Pass())], **settings)
    with Gradient(model, composite) as attributor:
        wanted = attributor(images.clone(), explainer.start(model(images), targets))[1].sum(1, keepdim=True)
    maps = explainer(model, images, targets)
    torch.testing.assert_close(maps, wanted, rtol=1e-6, atol=float(1e-6 * wanted.abs().max()))


def test_saturated_relu6_hands_relevance_on(draw: Draw, trained: Callable[..., nn.Module]) -> None:
    def layers(activation: nn.Module) -> nn.Module:
        return trained(nn.Sequential(nn.Conv2d(3, 4, 3), activation, nn.Flatten(), nn.Linear(144, 4))).double()

    images, targets = draw(2, SIDE).double(), torch.tensor([0, 1])
    capped, plain = layers(nn.ReLU6()), layers(nn.ReLU())
    torch.testing.assert_close(lrp_epsilon_plus(capped, images, targets), lrp_epsilon_plus(plain, images, targets))
    capped[0].weight.data.mul_(100)
    without_biases(capped)
    sums = lrp_epsilon_plus(capped, images, targets).sum((1, 2, 3))
    torch.testing.assert_close(sums, logit(capped, images, targets), rtol=0.01, atol=0)


def test_uncanonized_sums_multiply_relevance(build: Build, draw: Draw, targets: Tensor) -> None:
    """Each of two sums hands all of its relevance to both branches."""
    model, images = without_biases(build("residual")), draw(4)
    ratio = lrp.lrp_epsilon_plus_uncanonized(model, images, targets).sum((1, 2, 3)) / logit(model, images, targets)
    torch.testing.assert_close(ratio, torch.full((4,), 4.0), rtol=0.2, atol=0)


def test_uncanonized_applies_to_what_cannot_be_canonized(draw: Draw) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.SiLU(), nn.Flatten(), nn.Linear(144, 4)).eval()
    assert lrp.lrp_epsilon_plus_uncanonized.inapplicable(model) is None
    assert lrp.lrp_epsilon_plus_uncanonized(model, draw(1, SIDE), torch.tensor([0])).any()


def test_contrast_of_a_linear_model_is_the_difference_of_weights(trained: Callable[..., nn.Module], draw: Draw) -> None:
    images = draw(2, SIDE).double()
    model = trained(nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE**2, 2))).double()
    wanted = (images * (model[1].weight[0] - model[1].weight[1]).view_as(images[0])).sum(1, keepdim=True)
    zero, one = (lrp_contrastive(model, images, torch.full((2,), target)) for target in (0, 1))
    torch.testing.assert_close(zero, wanted, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(one, -wanted, rtol=1e-3, atol=1e-4)


def test_contrast_of_a_network_that_is_sure_is_not_zero() -> None:
    logits = torch.tensor([[200.0, 100.0, 0.0], [0.0, -300.0, 0.0]])
    start = lrp_contrastive.start(logits, torch.tensor([0, 1]))
    torch.testing.assert_close(start, torch.tensor([[200.0, -100.0, 0.0], [0.0, -300.0, 0.0]]))
    assert torch.equal(lrp_contrastive.start(logits[:, :1], torch.tensor([0, 0])), logits[:, :1])


def test_excitation_does_not_depend_on_the_logits_size(small: nn.Module, draw: Draw, targets: Tensor) -> None:
    images = draw(4, SIDE).double()
    before = lrp.excitation_backprop(small, images, targets)
    small[-1].weight.data.mul_(7)
    small[-1].bias.data.sub_(100)
    torch.testing.assert_close(lrp.excitation_backprop(small, images, targets), before, rtol=1e-4, atol=1e-9)


class Backwards(nn.Module):
    """Registered from the logits to the pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.second = nn.Linear(4, 4), nn.Conv2d(4, 4, 3)
        self.norm, self.first = nn.BatchNorm2d(4), nn.Conv2d(3, 4, 3)
        self.preprocessing, self.shortcut = Normalize(MEAN, DEVIATION), nn.Conv2d(4, 4, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        maps = self.first(self.preprocessing(inputs)).relu()
        maps = self.second(self.norm(maps + self.shortcut(maps)).relu())
        return self.linear(maps.mean((2, 3)))


def test_layers_are_told_in_the_order_in_which_they_run(trained: Callable[..., nn.Module], draw: Draw) -> None:
    found = list(layers(*canonized(trained(Backwards())), draw(1)))
    assert [layer.name for layer in found] == ["first", "shortcut", "norm", "second", "linear"]
    assert [layer.depth for layer in found] == [1 / 4, 2 / 4, 2 / 4, 3 / 4, 1]
    assert [layer.first for layer in found] == [True, False, False, False, False]
    assert [layer.channelwise for layer in found] == [False, False, True, False, False]
    assert [layer.nonnegative for layer in found] == [False, True, False, True, False]
    assert [layer.rectified for layer in found] == [True, False, True, False, False]


def test_bounds_are_those_of_preprocessed_images(trained: Callable[..., nn.Module], draw: Draw) -> None:
    model = trained(Backwards())
    low, high = next(layers(*canonized(model), draw(2))).bounds()
    mean, deviation = (torch.tensor(part).view(1, 3, 1, 1) for part in (MEAN, DEVIATION))
    torch.testing.assert_close(low, (-mean / deviation).expand(1, 3, 16, 16))
    torch.testing.assert_close(high, ((1 - mean) / deviation).expand(1, 3, 16, 16))


def test_flat_spreads_evenly_in_the_layer_that_runs_first(trained: Callable[..., nn.Module], draw: Draw) -> None:
    """One channel of a pixel gets as much as another, so that the pixel's value does not matter to its own share."""
    model, images = trained(Backwards()).double(), draw(2).double()
    rebuilt, composite = lrp.lrp_epsilon_plus_flat.ruled(model, images)
    with Gradient(rebuilt, composite) as attributor:
        relevance = attributor(images.clone(), torch.eye(4).double()[:2])[1]
    torch.testing.assert_close(relevance[:, 0], relevance[:, 1])


def test_alpha_and_beta_need_contributions_of_both_signs() -> None:
    """All contributions positive: the closed form of the z⁺ rule, not twice that."""
    model = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 2)).double().requires_grad_(False)
    for layer in (model[0], model[3]):
        layer.weight.abs_()
        layer.bias.abs_()
    images, targets = torch.rand(2, 3, SIDE, SIDE).double(), torch.tensor([0, 1])
    torch.testing.assert_close(
        lrp.lrp_epsilon_alpha2_beta1(model, images, targets), lrp_epsilon_plus(model, images, targets)
    )


def test_entries_together_answer_as_each_alone(network: nn.Module, images: Tensor, targets: Tensor) -> None:
    entries = [entry for entry in vars(lrp).values() if isinstance(entry, lrp.Propagation)]
    assert len(entries) == 10
    for entry, together in zip(entries, lrp.together(entries, network, images, targets), strict=True):
        assert torch.equal(together, entry(network, images, targets)), entry


def test_entries_together_need_one_forward_pass(network: nn.Module, images: Tensor, targets: Tensor) -> None:
    entries = [lrp.lrp_epsilon, lrp.lrp_epsilon_plus, lrp.lrp_epsilon_alpha2_beta1]
    passes = []
    handle = canonized(network)[0].register_forward_hook(lambda *_: passes.append(1))
    with torch.enable_grad():
        lrp.together(entries, network, images, targets)
    handle.remove()
    assert len(passes) == 1


def test_entries_together_leave_no_hook_when_one_fails(build: Build, draw: Draw) -> None:
    network, images, beyond = build("residual"), draw(2), torch.tensor([0, 5])
    entries = [lrp.lrp_epsilon, lrp.lrp_epsilon_plus_uncanonized]
    with torch.enable_grad(), pytest.raises(RuntimeError, match="num_classes"):
        lrp.together(entries, network, images, beyond)
    modules = [*network.modules(), *canonized(network)[0].modules()]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in modules)
