"""Fitting: the loss falls, the same seed gives the same weights, the best epoch is kept."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import nn

from tasks.base import Sample, Samples
from tasks.checkpoints import load_checkpoint
from tasks.evaluation import evaluate
from tasks.networks import with_preprocessing
from tasks.training import Images, Jitter, Progress, Recipe, Trainable, fit, in_memory

CLASSES = ("dark", "bright")


def _samples(n_samples: int, seed: int = 0) -> list[Sample]:
    """Noise about 0.35 or 0.65."""
    generator = torch.Generator().manual_seed(seed)
    return [
        Sample((0.35 + 0.3 * (index % 2) + 0.2 * torch.randn(3, 8, 8, generator=generator)).clamp(0, 1),
               torch.tensor(index % 2), f"{index}")
        for index in range(n_samples)
    ]  # fmt: skip


@dataclass(frozen=True)
class _Brightness(Trainable):
    """Is a picture bright? The smallest task that can be trained."""

    folder: Path
    lacking: str | None = None

    def classes(self) -> tuple[str, ...]:
        return CLASSES

    def network(self) -> nn.Sequential:
        return with_preprocessing(
            nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
        )

    def part(self, name: str) -> Samples:
        return _samples(40, seed=("train", "validation", "heldout").index(name))

    def checkpoint(self) -> Path:
        return self.folder / "brightness.safetensors"

    def recipe(self) -> Recipe:
        return Recipe(epochs=6, learning_rate=0.05, batch_size=8, augment=Jitter())

    def missing_data(self) -> str | None:
        return self.lacking


def test_training_lowers_the_loss_and_keeps_a_checkpoint(tmp_path: Path) -> None:
    task, seen = _Brightness(tmp_path), list[Progress]()
    evaluation = task.train(progress=seen.append)
    assert [progress.epoch for progress in seen] == list(range(1, len(seen) + 1))
    assert seen[-1].loss < 0.5 * seen[0].loss
    assert evaluation.accuracy >= 0.9
    assert evaluate(task.model(), task.samples(), CLASSES) == evaluation
    metadata = load_checkpoint(task.checkpoint(), task.network(), CLASSES)
    assert set(metadata) == {"classes", "task", "recipe", "init", "heldout", "data", "torch"}


def test_model_is_frozen_and_in_eval_mode(tmp_path: Path) -> None:
    task = _Brightness(tmp_path)
    task.train()
    state = torch.get_rng_state()
    model = task.model()
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert torch.equal(state, torch.get_rng_state())


def test_training_twice_gives_the_same_weights_and_leaves_the_random_state(tmp_path: Path) -> None:
    state = torch.get_rng_state()
    weights = []
    for _ in range(2):
        task = _Brightness(tmp_path)
        task.train()
        weights.append(task.model().state_dict())
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    assert torch.equal(state, torch.get_rng_state())


def test_training_starts_from_given_weights(tmp_path: Path) -> None:
    task, first = _Brightness(tmp_path), list[Progress]()
    task.train()
    torch.save(task.model().network.state_dict(), tmp_path / "start.pth")
    task.train(init=tmp_path / "start.pth", progress=first.append)
    assert first[0].accuracy >= 0.9
    with pytest.raises(ValueError, match=r"cannot be used together"):
        task.train(init=tmp_path / "start.pth", from_scratch=True)


def test_unavailable_says_what_to_do(tmp_path: Path) -> None:
    task = _Brightness(tmp_path)
    assert task.unavailable() == f"no checkpoint at {task.checkpoint()}: run `bench train brightness`"
    task.train()
    assert task.unavailable() is None
    without_data = _Brightness(tmp_path, lacking="data not found: look")
    assert without_data.unavailable() == "data not found: look"
    with pytest.raises(FileNotFoundError, match=r"data not found: look"):
        without_data.train()


def test_fit_keeps_the_best_epoch_and_stops_early() -> None:
    task, seen = _Brightness(Path()), list[Progress]()
    network, train = task.network(), in_memory(_samples(40))
    images, labels = in_memory(_samples(40, seed=1))
    labels = torch.cat([labels[:20], 1 - labels[20:]])  # nothing to learn
    recipe = Recipe(epochs=60, learning_rate=0.05, batch_size=8, patience=3)
    fit(network, train, Images(images, labels), recipe, seen.append)
    assert len(seen) < 60
    assert not network.training
    accuracy = (network(images.float() / 255).argmax(1) == labels).float().mean().item()
    assert accuracy == max(progress.accuracy for progress in seen)


def test_fit_draws_rare_classes_as_often_as_common_ones() -> None:
    counts = torch.zeros(2)

    def counting(images: torch.Tensor, _: torch.Generator) -> torch.Tensor:
        bright = images.mean((1, 2, 3)) > 0.5
        counts.add_(torch.tensor([(~bright).sum(), bright.sum()]))
        return images

    images = torch.cat([torch.zeros(90, 3, 8, 8), torch.full((10, 3, 8, 8), 255)]).to(torch.uint8)
    data = Images(images, torch.tensor([0] * 90 + [1] * 10))
    recipe = Recipe(epochs=10, learning_rate=1e-3, augment=counting, patience=99)
    fit(_Brightness(Path()).network(), data, data, recipe, lambda _: None)
    assert 0.9 < counts[0] / counts[1] < 1.1


def test_fit_says_when_it_diverges() -> None:
    network, images = _Brightness(Path()).network(), in_memory(_samples(8))
    with torch.no_grad():
        network.network[0].weight.fill_(float("inf"))
    with pytest.raises(ValueError, match=r"diverged in epoch 1"):
        fit(network, images, images, Recipe(epochs=2, learning_rate=0.1), lambda _: None)


def test_jitter_without_movement_is_the_identity_and_flips_when_asked() -> None:
    images, generator = torch.rand(3, 3, 9, 9), torch.Generator()
    still = Jitter(flip=0, rotation=0, shift=0)(images, generator)
    assert torch.allclose(still, images, atol=1e-5)
    flipped = Jitter(flip=1, rotation=0, shift=0)(images, generator)
    assert torch.allclose(flipped, images.flip(3), atol=1e-5)


def test_jitter_depends_on_its_generator_alone() -> None:
    images = torch.rand(3, 3, 9, 9)
    first, again = (Jitter()(images, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, Jitter()(images, torch.Generator().manual_seed(6)))


def test_samples_in_memory_are_those_at_8_bits() -> None:
    samples = _samples(5)
    images = in_memory(samples)
    assert images.labels.tolist() == [0, 1, 0, 1, 0]
    assert (images.images[3] / 255 - samples[3].input).abs().max() <= 0.5 / 255 + 1e-6
    assert images.fingerprint() == in_memory(_samples(5)).fingerprint()
    assert images.fingerprint() != in_memory(_samples(5, seed=1)).fingerprint()


def test_samples_of_no_or_two_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"no samples"):
        in_memory([])
    odd = Sample(torch.zeros(3, 4, 4), torch.tensor(0), "odd one")
    with pytest.raises(ValueError, match=r"odd one"):
        in_memory([*_samples(2), odd])


def test_training_without_a_held_out_sample_is_refused(tmp_path: Path) -> None:
    class Unheld(_Brightness):
        def part(self, name: str) -> Samples:
            return [] if name == "heldout" else super().part(name)

    with pytest.raises(ValueError, match=r"Unheld.*no held-out sample"):
        Unheld(tmp_path).train()
