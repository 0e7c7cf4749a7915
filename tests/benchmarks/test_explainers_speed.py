"""What each explainer costs, beside one forward and backward pass of the same batch and captum's and zennit's own.

Skipped unless asked for: pytest tests/benchmarks/test_explainers_speed.py --benchmark-only. The column `units` of the
extra information is the shortest time over that of the unit; read it and the ratios in the table; nothing is asserted
about time. CPU time at one thread, so that other work on the machine disturbs little.
"""

import warnings
from collections.abc import Callable, Iterator
from time import process_time
from typing import Any

import captum.attr
import pytest
import torch
from torch import Tensor, nn
from torchvision.models import resnet18
from zennit.attribution import Gradient
from zennit.composites import EpsilonPlusFlat

from bench.catalog import catalog
from explainers import lrp
from tasks.networks.architectures import vgg16, with_preprocessing

pytestmark = [
    pytest.mark.skipif("not config.getoption('benchmark_only', False)", reason="asked for by --benchmark-only"),
    pytest.mark.benchmark(timer=process_time),
]

N, SIDE = 8, 64
ENTRIES = catalog().explainers
Run = Callable[[], object]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # captum's, of hooks that it sets
        yield
    torch.set_num_threads(before)


@pytest.fixture(params=["vgg16", "resnet18"])
def model(request: pytest.FixtureRequest) -> nn.Module:
    """A VGG16 of a quarter of the width, a ResNet-18 of the full one."""
    torch.manual_seed(0)
    if request.param == "vgg16":
        network = vgg16(4, width=1 / 4, pooled=2, hidden=64)
    else:
        network = with_preprocessing(resnet18(num_classes=4))
    return network.eval().requires_grad_(False).to(memory_format=torch.channels_last)


@pytest.fixture
def images() -> Tensor:
    coarse = torch.rand(N, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    return nn.functional.interpolate(coarse, size=SIDE, mode="bilinear")


@pytest.fixture
def targets() -> Tensor:
    return torch.arange(N) % 4


@pytest.fixture
def unit(model: nn.Module, images: Tensor, targets: Tensor) -> float:
    """Seconds of one forward and backward pass: the shortest of five."""

    def once() -> float:
        began = process_time()
        leaf = images.clone().requires_grad_()
        model(leaf).gather(1, targets[:, None]).sum().backward()
        return process_time() - began

    return min(once() for _ in range(5))


def measured(benchmark: Any, unit: float, run: Run) -> None:
    began = process_time()
    run()
    rounds = max(2, min(20, int(1 / (process_time() - began))))  # the shortest of many, where that costs a second
    benchmark.pedantic(run, rounds=rounds)
    benchmark.extra_info["units"] = round(benchmark.stats.stats.min / unit, 2)


@pytest.mark.parametrize("name", ENTRIES)
def test_entry(name: str, benchmark: Any, unit: float, model: nn.Module, images: Tensor, targets: Tensor) -> None:
    entry = ENTRIES[name]
    reason = entry.inapplicable(model)
    if reason:
        pytest.skip(reason)
    benchmark.group = f"{name}"
    measured(benchmark, unit, lambda: entry(model, images, targets))


def last_layer(model: nn.Module) -> nn.Module:
    return model.get_submodule("network.layer4" if hasattr(model.network, "layer4") else "network.features.29")


def smoothgrad(model: nn.Module, images: Tensor, targets: Tensor) -> object:
    entry = ENTRIES["smoothgrad"]
    tunnel = captum.attr.NoiseTunnel(captum.attr.Saliency(model))
    return tunnel.attribute(images, nt_samples=entry.n_samples, nt_samples_batch_size=1, target=targets, abs=False)


def squares() -> Tensor:
    """Instead of SLIC's superpixels, as many: captum is given them for nothing."""
    rows = torch.arange(SIDE) * 6 // SIDE
    return (6 * rows[:, None] + rows)[None, None]


def one_after_another(kind: Any, model: nn.Module, images: Tensor, targets: Tensor, **settings: Any) -> object:
    """captum's explain one image a call."""
    method, masks = kind(model), squares()
    return [
        method.attribute(image[None], target=int(target), feature_mask=masks, perturbations_per_eval=32, **settings)
        for image, target in zip(images, targets, strict=True)
    ]


THEIRS: dict[str, Callable[[nn.Module, Tensor, Tensor], object]] = {
    "gradient": lambda m, x, t: captum.attr.Saliency(m).attribute(x.requires_grad_(), t, abs=False),
    "input_x_gradient": lambda m, x, t: captum.attr.InputXGradient(m).attribute(x.requires_grad_(), t),
    "integrated_gradients": lambda m, x, t: captum.attr.IntegratedGradients(m).attribute(
        x, target=t, n_steps=32, internal_batch_size=len(x)
    ),
    "smoothgrad": smoothgrad,
    "deep_lift": lambda m, x, t: captum.attr.DeepLift(m).attribute(x, target=t),
    "deep_lift_shap": lambda m, x, t: captum.attr.DeepLiftShap(m).attribute(x, torch.rand(8, 3, SIDE, SIDE), target=t),
    "guided_backprop": lambda m, x, t: captum.attr.GuidedBackprop(m).attribute(x, t),
    "deconvnet": lambda m, x, t: captum.attr.Deconvolution(m).attribute(x, t),
    "grad_cam": lambda m, x, t: captum.attr.LayerGradCam(m, last_layer(m)).attribute(x, t),
    "guided_grad_cam": lambda m, x, t: captum.attr.GuidedGradCam(m, last_layer(m)).attribute(x, t),
    "lrp_epsilon_plus_flat": lambda m, x, t: Gradient(m, EpsilonPlusFlat())(x, torch.eye(4)[t]),
    "occlusion": lambda m, x, t: captum.attr.Occlusion(m).attribute(x, (3, 13, 13), (3, 6, 6), 0.5, t),
    "feature_ablation": lambda m, x, t: captum.attr.FeatureAblation(m).attribute(x, 0.5, t, feature_mask=squares()),
    "lime": lambda m, x, t: one_after_another(captum.attr.Lime, m, x, t, n_samples=128),
    "kernel_shap": lambda m, x, t: one_after_another(captum.attr.KernelShap, m, x, t, n_samples=130),
}


@pytest.mark.parametrize("name", THEIRS)
def test_theirs(name: str, benchmark: Any, unit: float, model: nn.Module, images: Tensor, targets: Tensor) -> None:
    """On the model as it is: zennit's without canonization, captum's DeepLIFT only where it does not refuse."""
    benchmark.group = name
    if name.startswith("deep_lift") and hasattr(model.network, "layer4"):
        pytest.skip("captum refuses a ReLU that is used twice")
    with torch.random.fork_rng():
        measured(benchmark, unit, lambda: THEIRS[name](model, images.clone(), targets))


@pytest.mark.parametrize("together", [False, True])
def test_composites(
    together: bool, benchmark: Any, unit: float, model: nn.Module, images: Tensor, targets: Tensor
) -> None:
    """The nine composites on the canonized network: each alone, and from one forward pass."""
    entries = [entry for entry in ENTRIES.values() if isinstance(entry, lrp.LRP)]
    benchmark.group = "lrp: nine composites"
    if together:
        measured(benchmark, unit, lambda: lrp.together(entries, model, images, targets))
    else:
        measured(benchmark, unit, lambda: [entry(model, images, targets) for entry in entries])
