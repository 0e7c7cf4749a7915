"""Gradients a second time, slowly: finite differences, explicit loops; captum's own beside them."""

from collections.abc import Callable

import captum.attr
import pytest
import torch
from torch import Tensor, nn

from explainers.gradient import IntegratedGradients, gradient, input_x_gradient, integrated_gradients

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
    for explainer in (input_x_gradient, integrated_gradients):
        torch.testing.assert_close(explainer(layers, images, TARGETS), (weights * images).sum(1, keepdim=True))


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
