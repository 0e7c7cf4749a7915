"""Gradients a second time, slowly: finite differences, explicit loops; captum's own beside them."""

import warnings
from collections.abc import Callable

import captum.attr
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision import models

from explainers.base import InapplicableError
from explainers.canonizers import canonized
from explainers.gradient import (
    DeepLift,
    DeepLiftShap,
    ExpectedGradients,
    GuidedBackprop,
    IntegratedGradients,
    SmoothGrad,
    deconvnet,
    deep_lift,
    deep_lift_shap,
    expected_gradients,
    gradient,
    guided_backprop,
    input_x_gradient,
    integrated_gradients,
    smoothgrad,
)
from tasks.networks.architectures import with_preprocessing

TARGETS = torch.tensor([1, 3])
SIDE = 10
Case = tuple[nn.Module, Tensor]


@pytest.fixture
def case(draw: Callable[..., Tensor], trained: Callable[..., nn.Module]) -> Case:
    """A network with curvature in float64, and two images."""
    layers = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 5, 3),
        nn.Softplus(),
        nn.Flatten(),
        nn.Linear(20, 4),
    )
    return trained(layers).double(), draw(2, SIDE).double()


def differences(model: nn.Module, images: Tensor, step: float = 1e-6) -> Tensor:
    """Central differences of the target's logit, one value of one channel at a time."""
    slopes = torch.zeros_like(images)
    for sample, target in enumerate(TARGETS):
        for index in torch.cartesian_prod(*(torch.arange(size) for size in images.shape[1:])):
            shift = torch.zeros_like(images[sample])
            shift[tuple(index)] = step
            above, below = (model((images[sample] + sign * shift)[None])[0, target] for sign in (1, -1))
            slopes[(sample, *index)] = (above - below) / (2 * step)
    return slopes


def slope(model: nn.Module, images: Tensor) -> Tensor:
    images = images.detach().clone().requires_grad_()
    model(images).gather(1, TARGETS[:, None]).sum().backward()
    assert images.grad is not None
    return images.grad


def at_target(model: nn.Module, images: Tensor) -> Tensor:
    return model(images).gather(1, TARGETS[:, None])[:, 0]


def test_gradient_and_its_product_are_finite_differences(case: Case) -> None:
    model, images = case
    slopes = differences(model, images)
    torch.testing.assert_close(gradient(model, images, TARGETS), slopes.sum(1, keepdim=True), atol=1e-7, rtol=1e-6)
    product = (images * slopes).sum(1, keepdim=True)
    torch.testing.assert_close(input_x_gradient(model, images, TARGETS), product, atol=1e-7, rtol=1e-6)


@pytest.mark.parametrize("baseline", [0.0, 0.5])
def test_integrated_gradients_are_the_riemann_sum(case: Case, baseline: float) -> None:
    model, images = case
    explainer = IntegratedGradients(baseline=baseline, n_steps=300)
    maps, n_steps = explainer(model, images, TARGETS), 2000
    start = torch.full_like(images, baseline)
    mean = torch.zeros_like(images)
    for step in range(n_steps):
        mean += slope(model, start + (step + 0.5) / n_steps * (images - start)) / n_steps
    riemann = ((images - start) * mean).sum(1, keepdim=True)
    assert (maps - riemann).abs().max() <= 0.01 * riemann.abs().max()
    gain = at_target(model, images) - at_target(model, start)
    torch.testing.assert_close(maps.sum((1, 2, 3)), gain, rtol=5e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["plain", "in_place", "residual", "dense"])
def test_integrated_gradients_of_few_steps_sum_to_the_logits_difference(
    name: str, build: Callable[[str], nn.Module], draw: Callable[..., Tensor]
) -> None:
    model, images = build(name), draw(2)
    difference = at_target(model, images) - at_target(model, torch.zeros_like(images))
    sums = integrated_gradients(model, images, TARGETS).sum((1, 2, 3))
    assert (sums - difference).abs().max() <= 0.05 * difference.abs().max()


def test_linear_model_has_one_answer(draw: Callable[..., Tensor]) -> None:
    images = draw(2, SIDE).double()
    layers = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE**2, 4)).double()
    weights = layers[1].weight.detach()[TARGETS].view_as(images)
    torch.testing.assert_close(gradient(layers, images, TARGETS), weights.sum(1, keepdim=True))
    for explainer in (input_x_gradient, integrated_gradients, deep_lift):
        torch.testing.assert_close(explainer(layers, images, TARGETS), (weights * images).sum(1, keepdim=True))
    torch.testing.assert_close(smoothgrad(layers, images, TARGETS), weights.sum(1, keepdim=True))
    wanted = (weights * (images - 0.5)).sum(1, keepdim=True)
    torch.testing.assert_close(deep_lift_shap(layers, images, TARGETS), wanted)
    maps = ExpectedGradients(n_samples=2000)(layers, images, TARGETS)
    torch.testing.assert_close(maps, wanted, atol=2e-4, rtol=0)  # the levels' mean is 0.5 within 1 / n^1.5


def test_captum_says_the_same(network: nn.Module, images: Tensor, targets: Tensor) -> None:
    images.requires_grad_()
    wanted = captum.attr.InputXGradient(network).attribute(images, target=targets).sum(1, keepdim=True)
    torch.testing.assert_close(input_x_gradient(network, images, targets), wanted.detach())
    wanted = captum.attr.Saliency(network).attribute(images, target=targets, abs=False).sum(1, keepdim=True)
    torch.testing.assert_close(gradient(network, images, targets), wanted.detach())


def test_black_pixels_get_nothing(case: Case) -> None:
    model, images = case
    images[:, :, 3:6, 2:9] = 0
    for explainer in (input_x_gradient, integrated_gradients):
        assert not explainer(model, images, TARGETS)[:, :, 3:6, 2:9].any()


def test_smoothgrad_is_the_mean_gradient_under_noise_of_the_images_range(case: Case) -> None:
    """Of a quadratic logit: gradient 2 x y, so the mean over noise is that at the image, and its spread tells."""

    class Quadratic(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return inputs.square().sum((1, 2, 3))[:, None].expand(-1, 4)

    images = torch.linspace(0.2, 0.7, 2 * 3 * 400, dtype=torch.float64).view(2, 3, 20, 20)
    n_samples = 50
    deviations = (SmoothGrad(n_samples=n_samples)(Quadratic(), images, TARGETS) - 2 * images.sum(1, True)).flatten(1)
    spread = 2 * 0.15 * (images.amax((1, 2, 3)) - images.amin((1, 2, 3))) * (3 / n_samples) ** 0.5
    np.testing.assert_allclose(deviations.std(1), spread, rtol=0.1)
    assert torch.all(deviations.mean(1).abs() < 4 * spread / 20)
    model, images = case
    uniform = torch.ones_like(images)  # of no range, so of no noise
    torch.testing.assert_close(smoothgrad(model, uniform, TARGETS), gradient(model, uniform, TARGETS))


@pytest.mark.parametrize("kind", [SmoothGrad, ExpectedGradients])
def test_random_numbers_belong_to_seed_and_image(kind: type, case: Case) -> None:
    model, images = case
    maps = kind()(model, images, TARGETS)
    assert torch.equal(kind()(model, images, TARGETS), maps)
    assert not torch.allclose(kind(seed=1)(model, images, TARGETS), maps)


def test_expected_gradients_are_the_mean_integrated_gradient(case: Case) -> None:
    model, images = case
    maps = ExpectedGradients(n_samples=1500)(model, images, TARGETS)
    levels = [(index + 0.5) / 20 for index in range(20)]
    wanted = sum(IntegratedGradients(baseline=level)(model, images, TARGETS) for level in levels) / len(levels)
    assert (maps - wanted).abs().max() <= 0.05 * wanted.abs().max()
    few = expected_gradients(model, images, TARGETS)
    assert torch.corrcoef(torch.stack([few.flatten(), wanted.flatten()]))[0, 1] > 0.9


STYLES = ["plain", "in_place", "residual", "dense"]
Build = Callable[[str], nn.Module]
Draw = Callable[..., Tensor]


@pytest.mark.parametrize("name", STYLES)
def test_rectified_gradients_are_captums_on_the_rebuilt_network(name: str, build: Build, draw: Draw) -> None:
    """captum's rectify in modules only: on the canonized network every ReLU is one, used once."""
    model, images = build(name).double(), draw(2).double()
    rebuilt, _ = canonized(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        guided, deconvolved = (
            kind(rebuilt).attribute(images.clone(), target=TARGETS).sum(1, keepdim=True)
            for kind in (captum.attr.GuidedBackprop, captum.attr.Deconvolution)
        )
    torch.testing.assert_close(guided_backprop(model, images, TARGETS), guided.detach())
    torch.testing.assert_close(deconvnet(model, images, TARGETS), deconvolved.detach())
    assert not torch.allclose(guided, deconvolved)


@pytest.mark.parametrize("name", ["plain", "residual", "dense"])
def test_deep_lift_is_captums_where_that_is_right(name: str, build: Build, draw: Draw) -> None:
    model, images = build(name).double(), draw(2).double()
    for part in [part for part in model.modules() if isinstance(part, nn.Sequential)]:
        for index, layer in enumerate(part):
            part[index] = nn.AvgPool2d(2) if isinstance(layer, nn.MaxPool2d) else layer
    rebuilt, _ = canonized(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for level in (0.0, 0.3):
            baseline = torch.full_like(images, level)
            wanted = captum.attr.DeepLift(rebuilt).attribute(images.clone(), baseline, target=TARGETS)
            maps = DeepLift(baseline=level)(model, images, TARGETS)
            torch.testing.assert_close(maps, wanted.sum(1, keepdim=True).detach())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_deep_lift_sums_to_the_difference_of_logits(
    network: nn.Module, images: Tensor, targets: Tensor, dtype: torch.dtype
) -> None:
    network, images = network.to(dtype), images.to(dtype)
    tolerance = 1e-9 if dtype == torch.float64 else 1e-4

    def logit_of(level: float) -> Tensor:
        return network(torch.full_like(images[:1], level))[0, targets]

    gain = network(images).gather(1, targets[:, None])[:, 0]
    sums = DeepLift(baseline=0.25)(network, images, targets).sum((1, 2, 3))
    torch.testing.assert_close(sums, gain - logit_of(0.25), atol=tolerance, rtol=tolerance)
    sums = DeepLiftShap(n_baselines=2)(network, images, targets).sum((1, 2, 3))
    torch.testing.assert_close(sums, gain - (logit_of(0.25) + logit_of(0.75)) / 2, atol=tolerance, rtol=tolerance)


def test_deep_lift_knows_gates_and_smooth_activations(trained: Callable[..., nn.Module], draw: Draw) -> None:
    """Squeeze and excitation, SiLU and hard swish: products have a multiplier, too."""
    for build in (models.efficientnet_b0, models.mobilenet_v3_small):
        model = trained(with_preprocessing(build(weights=None, num_classes=4))).double()
        images = draw(2, 48).double()
        gain = at_target(model, images) - at_target(model, torch.zeros_like(images))
        torch.testing.assert_close(deep_lift(model, images, TARGETS).sum((1, 2, 3)), gain)


def one_pixel(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).view(1, 1, 1, -1)


class Toy(nn.Module):
    """Of a row of pixels, a function's sum; the other logit is 0."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, inputs: Tensor) -> Tensor:
        answer = self.function(inputs).flatten(1).sum(1)
        return torch.stack([answer, 0 * answer], dim=1)


@pytest.mark.parametrize(
    ("function", "image", "baseline", "wanted"),
    [
        (lambda x: F.relu(2 * x - 1), (0.8, 0.3), 0.0, (0.6, 0.0)),  # ratio .6 / 1.6 of the inputs, times 2, times .8
        (lambda x: F.relu(1 - 2 * x), (0.8, 0.3), 0.0, (-1.0, -0.6)),  # the gradient at .8 is 0: saturated
        (lambda x: (x * 1).sub_(0.5).relu_(), (0.8, 0.3), 0.0, (0.3, 0.0)),
        (lambda x: x[..., :1] * x[..., 1:], (0.8, 0.3), 0.0, (0.12, 0.12)),
        (lambda x: x[..., :1] * x[..., 1:], (0.8, 0.3), 0.5, (0.3 * 0.4, -0.2 * 0.65)),
        (lambda x: F.max_pool2d(x, (1, 2)), (0.8, 0.3), 0.0, (0.8, 0.0)),
        (lambda x: F.max_pool2d(x, (1, 2)), (0.2, 0.3), 0.5, (0.0, -0.2)),  # all of the baseline are its maximum
        (lambda x: F.max_pool2d(x * one_pixel(2, 1), (1, 2)), (0.2, 0.3), 0.5, (-0.6, 0.0)),
        (lambda x: F.max_pool2d(x * one_pixel(1, 2, 1), (1, 2), 1), (0.1, 0.5, 0.2), 0.0, (0.0, 2.0, 0.0)),  # overlap
        (lambda x: F.max_pool2d(x, (1, 2)), (0.4, 0.4), 0.0, (0.4, 0.0)),  # ties: the first
        (lambda x: torch.sigmoid(x), (0.0,), 0.0, (0.0,)),
    ],
)  # fmt: skip
def test_deep_lift_by_hand(
    function: Callable[[Tensor], Tensor], image: tuple[float, ...], baseline: float, wanted: tuple[float, ...]
) -> None:
    maps = DeepLift(baseline=baseline)(Toy(function), one_pixel(*image), torch.tensor([0]))
    torch.testing.assert_close(maps, one_pixel(*wanted))


def test_rectified_gradients_by_hand() -> None:
    def function(inputs: Tensor) -> Tensor:
        hidden = F.relu(inputs * one_pixel(1, -1, 1, 1))  # passes the values of the first, third and last
        return F.relu6(hidden * one_pixel(2, 3, -1, 9)) * one_pixel(1, 1, 1, 1)

    image, target = one_pixel(0.5, 0.5, 0.5, 0.9), torch.tensor([0])
    torch.testing.assert_close(guided_backprop(Toy(function), image, target), one_pixel(2, 0, 0, 0))
    torch.testing.assert_close(deconvnet(Toy(function), image, target), one_pixel(2, -3, 0, 9))


def test_step_without_a_rule_is_told_not_hidden(draw: Draw) -> None:
    images = draw(2).double()
    normed = nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), nn.Flatten(), nn.Linear(784, 4)).double().eval()
    assert deep_lift.inapplicable(normed) == "no multiplier for GroupNorm 1"
    smooth = nn.Sequential(nn.Conv2d(3, 4, 3), nn.GELU(), nn.Flatten(), nn.Linear(784, 4)).double().eval()
    assert guided_backprop.inapplicable(smooth) == "defined for ReLUs, not for GELU 1"
    assert deep_lift.inapplicable(smooth) is None
    with pytest.raises(InapplicableError, match="has no ReLU"):
        guided_backprop(Toy(lambda x: x**2), images, torch.tensor([0, 0]))
    with pytest.raises(InapplicableError, match="do not sum"):
        deep_lift(Toy(lambda x: x**2), images, torch.tensor([0, 0]))


def test_guided_backprop_sees_functions_and_shared_modules(draw: Draw) -> None:
    """One ReLU module used twice, a functional one in place: as three modules of their own."""

    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList([nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3)])
            self.relu, self.linear = nn.ReLU(inplace=True), nn.Linear(4, 4)

        def forward(self, inputs: Tensor) -> Tensor:
            for layer in self.layers[:2]:
                inputs = self.relu(layer(inputs))
            return self.linear(F.relu(self.layers[2](inputs), True).mean((2, 3)))

    torch.manual_seed(0)
    shared = Shared().eval()
    first, second, third = shared.layers
    relus = [nn.ReLU() for _ in range(3)]
    apart = nn.Sequential(first, relus[0], second, relus[1], third, relus[2], nn.AdaptiveAvgPool2d(1), nn.Flatten())
    apart.append(shared.linear)
    images = draw(2)
    torch.testing.assert_close(GuidedBackprop()(shared, images, TARGETS), GuidedBackprop()(apart, images, TARGETS))
