"""LRP a second time: every layer an explicit matrix, every rule as it is printed; zennit's own beside it.

The rules, for a layer z = W a + b with relevance R of its outputs:
- epsilon: R_j = a_j Σ_k W_kj R_k / (z_k + ε sign z_k);
- z⁺: the same with a⁺ W⁺ + a⁻ W⁻ in place of a W, and b⁺ in place of b;
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
from zennit.composites import EpsilonPlus
from zennit.rules import Pass

from explainers.lrp import LRPEpsilonPlus, lrp_epsilon_plus, lrp_epsilon_plus_flat

EPSILON = 1e-6
SIDE = 8
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


def flat_rule(weights: Matrix, relevance: Matrix) -> Matrix:
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


def slow(model: nn.Module, image: Tensor, target: int, flat: bool) -> Matrix:
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
    relevance = epsilon_rule(linear.weight.detach().numpy(), linear.bias.detach().numpy(), x4, relevance)
    relevance = epsilon_rule(*as_matrix(mean, a3.shape[1:]), x3, relevance)
    relevance = z_plus_rule(*explicit_convolution(second, a2.shape[1:]), x2, relevance)
    relevance = max_rule(a1[0].detach().numpy(), relevance.reshape(a2.shape[1:])).ravel()
    weights, bias = explicit_convolution(first, a0.shape[1:])
    relevance = flat_rule(weights, relevance) if flat else z_plus_rule(weights, bias, x0, relevance)
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
    return trained(nn.Sequential(Normalize((0.5, 0.4, 0.3), (0.25, 0.3, 0.2)), *layers, *head)).double()


def test_convolution_as_a_matrix_is_the_convolution(small: nn.Module, draw: Draw) -> None:
    weights, bias = explicit_convolution(small[1], (3, SIDE, SIDE))
    np.testing.assert_allclose(weights, as_matrix(small[1], (3, SIDE, SIDE))[0], atol=1e-12)
    image = draw(1, SIDE).double()
    np.testing.assert_allclose(weights @ image.numpy().ravel() + bias, small[1](image).numpy().ravel(), atol=1e-12)


@pytest.mark.parametrize("flat", [False, True])
def test_map_is_the_rules_in_matrix_form(flat: bool, small: nn.Module, draw: Draw, targets: Tensor) -> None:
    images = draw(4, SIDE).double()
    maps = (lrp_epsilon_plus_flat if flat else lrp_epsilon_plus)(small, images, targets)
    for index, image in enumerate(images):
        wanted = slow(small, image, int(targets[index]), flat)
        np.testing.assert_allclose(maps[index, 0].numpy(), wanted, atol=1e-10 * np.abs(wanted).max())


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


@pytest.mark.parametrize("name", ["plain", "in_place", "residual", "dense"])
def test_relevance_is_conserved_where_there_is_no_bias(name: str, build: Build, draw: Draw, targets: Tensor) -> None:
    """z⁺ loses what reaches a unit that nothing speaks for: a branch's unit below 0 in a sum above 0, behind a
    1 x 1 convolution whose few contributions are all negative. Positive weights there leave none such."""
    model, images = without_biases(build(name)).double(), draw(4).double()
    if name == "residual":
        model.get_submodule("6.shortcut.0").weight.data.abs_()
    wanted = logit(model, images, targets)
    for explainer in (lrp_epsilon_plus, lrp_epsilon_plus_flat):
        ratio = explainer(model, images, targets).sum((1, 2, 3)) / wanted
        torch.testing.assert_close(ratio, torch.ones(4).double(), atol=0.01, rtol=0)


def epsilon_plus(model: nn.Module, images: Tensor, targets: Tensor, preprocessing: nn.Module) -> Tensor:
    """zennit's own on the model as it is, relevance started at the target's logit."""
    composite = EpsilonPlus(layer_map=[((type(preprocessing),), Pass())])
    start = torch.zeros(len(images), 4).to(images)
    start[torch.arange(len(images)), targets] = logit(model, images, targets)
    with Gradient(model, composite) as attributor:
        return attributor(images.clone(), start)[1].sum(1, keepdim=True)


@pytest.fixture(params=["plain", "vgg", "squeezenet"])
def right_for_zennit(request: pytest.FixtureRequest, build: Build) -> nn.Module:
    """Networks that need no canonization: nothing but modules, each used once, no batch norm."""
    return build(request.param)


def test_zennit_says_the_same(right_for_zennit: nn.Module, draw: Draw, targets: Tensor) -> None:
    images = draw(4, 16 if len(right_for_zennit) > 2 else 64)
    wanted = epsilon_plus(right_for_zennit, images, targets, right_for_zennit[0])
    torch.testing.assert_close(lrp_epsilon_plus(right_for_zennit, images, targets), wanted, rtol=1e-4, atol=1e-6)


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
