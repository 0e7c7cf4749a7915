"""Fitting: the loss falls, the same seed gives the same weights, the best epoch is kept."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional
from torchvision.transforms import v2

from tasks.base import Sample, Samples
from tasks.evaluation.scores import evaluate
from tasks.learning import fitting
from tasks.learning.augmentation import Augment, Deletion, Each, InTurn, Jitter, Vignette, of_the_studies
from tasks.learning.fitting import Progress, Recipe, fit
from tasks.learning.memory import Images, in_memory, without_duplicates
from tasks.networks.architectures import with_preprocessing
from tasks.networks.checkpoints import load_checkpoint
from tasks.training import Trainable

CLASSES = ("dark", "bright")
KEPT = {"classes", "task", "recipe", "init", "preprocessing", "heldout", "history", "duplicates", "data"}
KEPT |= {"device", "torch"}


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


def _silent(_: Progress) -> None:
    pass


def test_training_lowers_the_loss_and_keeps_a_checkpoint(tmp_path: Path) -> None:
    task, seen = _Brightness(tmp_path), list[Progress]()
    evaluation, history, duplicates = task.train(progress=seen.append)
    assert [epoch.epoch for epoch in history] == list(range(1, len(history) + 1))
    assert [progress.scores for progress in seen if progress.scores] == history
    assert history[-1].loss < 0.5 * history[0].loss
    assert not duplicates
    assert evaluation.accuracy >= 0.9
    assert evaluate(task.model(), task.samples(), CLASSES) == evaluation
    metadata = load_checkpoint(task.checkpoint(), task.network(), CLASSES)
    assert set(metadata) == KEPT
    assert metadata["history"] == [epoch._asdict() for epoch in history]


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
    task = _Brightness(tmp_path)
    task.train()
    torch.save(task.model().network.state_dict(), tmp_path / "start.pth")
    assert task.train(init=tmp_path / "start.pth").history[0].score >= 0.9
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
    task = _Brightness(Path())
    network, train = task.network(), in_memory(_samples(40))
    images, labels, _ = in_memory(_samples(40, seed=1))
    labels = torch.cat([labels[:20], 1 - labels[20:]])  # nothing to learn
    recipe = Recipe(epochs=60, learning_rate=0.05, batch_size=8, patience=3)
    history = fit(network, train, Images(images, labels), recipe, _silent)
    assert len(history) < 60
    assert not network.training
    accuracy = (network(images.float() / 255).argmax(1) == labels).float().mean().item()
    assert accuracy == max(epoch.score for epoch in history)


def test_fit_draws_rare_classes_as_often_as_common_ones() -> None:
    counts = torch.zeros(2)

    def counting(images: torch.Tensor, _: torch.Generator) -> torch.Tensor:
        bright = images.mean((1, 2, 3)) > 0.5
        counts.add_(torch.tensor([(~bright).sum(), bright.sum()]))
        return images

    images = torch.cat([torch.zeros(90, 3, 8, 8), torch.full((10, 3, 8, 8), 255)]).to(torch.uint8)
    data = Images(images, torch.tensor([0] * 90 + [1] * 10))
    recipe = Recipe(epochs=10, learning_rate=1e-3, augment=counting, patience=99)
    fit(_Brightness(Path()).network(), data, data, recipe, _silent)
    assert 0.9 < counts[0] / counts[1] < 1.1


def test_fit_says_when_it_diverges() -> None:
    network, images = _Brightness(Path()).network(), in_memory(_samples(8))
    with torch.no_grad():
        network.network[0].weight.fill_(float("inf"))
    with pytest.raises(ValueError, match=r"diverged in epoch 1"):
        fit(network, images, images, Recipe(epochs=2, learning_rate=0.1), _silent)


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


class _KilledError(Exception):
    pass


@pytest.mark.parametrize("n_batches", [3, 5, 17])  # within epoch 1, at its end, in epoch 4
def test_a_killed_training_goes_on_to_the_weights_of_an_uninterrupted_one(n_batches: int, tmp_path: Path) -> None:
    def kill(progress: Progress) -> None:
        if progress.stage.startswith("epoch") and progress.done >= n_batches and progress.scores is None:
            raise _KilledError

    whole, killed = _Brightness(tmp_path / "whole"), _Brightness(tmp_path / "killed")
    expected = whole.train()
    with pytest.raises(_KilledError):
        killed.train(progress=kill)
    steps: list[Progress] = []
    training = killed.train(progress=steps.append)
    n_epochs = len({step.stage for step in steps if step.stage.startswith("epoch")})
    assert n_epochs == len(expected.history) - (n_batches - 1) // 5
    assert [epoch[:4] for epoch in training.history] == [epoch[:4] for epoch in expected.history]
    weights = (whole.model().state_dict(), killed.model().state_dict())
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    assert [path.name for path in killed.folder.iterdir()] == ["brightness.safetensors"]


@pytest.mark.parametrize("content", [b"", b"cut short", None])
def test_a_state_of_another_training_is_not_taken_up(content: bytes | None, tmp_path: Path) -> None:
    fresh, state = _Brightness(tmp_path / "fresh"), tmp_path / "brightness.unfinished"
    expected = fresh.train()
    if content is None:
        torch.save({"identity": "another"}, state)
    else:
        state.write_bytes(content)
    assert [epoch[:4] for epoch in _Brightness(tmp_path).train().history] == [epoch[:4] for epoch in expected.history]


def test_duplicates_across_parts_are_left_out_and_told(tmp_path: Path) -> None:
    class Copied(_Brightness):
        def part(self, name: str) -> Samples:
            samples = _samples(40, seed=("train", "validation", "heldout").index(name))
            if name == "train":
                samples[3] = _samples(40, seed=2)[7]._replace(id="copy of 7")
                samples[4] = _samples(40, seed=1)[8]._replace(id="copy of 8")
            if name == "validation":
                samples[5] = _samples(40, seed=2)[9]._replace(id="copy of 9")
            return samples

    duplicates = Copied(tmp_path).train().duplicates
    assert duplicates == [
        ("copy of 9", "9", "heldout"),
        ("copy of 7", "7", "heldout"),
        ("copy of 8", "8", "validation"),
    ]


def test_images_that_are_all_in_another_part_are_refused() -> None:
    images = in_memory(_samples(3))
    with pytest.raises(ValueError, match=r"every image is also in the part 'heldout', 0 for one"):
        without_duplicates(images, images, "heldout")


def test_a_multi_label_network_learns_each_finding_from_what_is_known() -> None:
    generator = torch.Generator().manual_seed(0)
    present = torch.randint(0, 2, (120, 2), generator=generator)
    images = torch.full((120, 3, 8, 8), 100, dtype=torch.uint8)
    images[:, 0] += (100 * present[:, 0]).to(torch.uint8)[:, None, None]
    images[:, 1] += (100 * present[:, 1]).to(torch.uint8)[:, None, None]
    labels = present.clone()
    labels[::3, 1] = -1
    data = Images(images, labels)
    recipe = Recipe(epochs=30, learning_rate=0.05, batch_size=16, patience=30)
    network = _Brightness(Path()).network()
    history = fit(network, data, data, recipe, _silent)
    assert history[-1].score > 0.99
    with torch.inference_mode():
        assert ((network(images.float() / 255) > 0) == (present == 1)).float().mean() > 0.95


def test_the_loss_of_unknown_labels_is_nothing() -> None:
    logits = torch.tensor([[2.0, -1.0], [0.5, 3.0]])
    known = functional.binary_cross_entropy_with_logits(torch.tensor([2.0, 0.5, 3.0]), torch.tensor([1.0, 0.0, 1.0]))
    assert torch.isclose(fitting._loss(logits, torch.tensor([[1, -1], [0, 1]])), known)
    assert fitting._loss(logits, torch.full((2, 2), -1)) == 0


def test_the_rarest_finding_decides_how_often_an_image_is_drawn() -> None:
    labels = torch.tensor([[1, 0], [1, 0], [1, 1], [0, 0], [0, -1]])
    assert fitting._rarity(labels).tolist() == pytest.approx([1 / 3, 1 / 3, 1, 1 / 2, 1 / 2])


def test_every_image_is_met_once_an_epoch_unless_classes_are_balanced() -> None:
    order = fitting._order(torch.tensor([0, 0, 0, 1]), balanced=False, generator=torch.Generator().manual_seed(0))
    assert sorted(order.tolist()) == [0, 1, 2, 3]


AUGMENTATIONS = [
    Jitter(),
    Vignette(),
    Deletion(),
    of_the_studies(),
    of_the_studies(vignette=True),
    Each(v2.RandomErasing(p=1)),
]


@pytest.mark.parametrize("augment", AUGMENTATIONS, ids=lambda augment: type(augment).__name__)
def test_augmented_images_are_images_and_depend_on_the_generator_alone(augment: Augment) -> None:
    images, state = torch.rand(6, 3, 24, 20, generator=torch.Generator().manual_seed(1)), torch.get_rng_state()
    before = images.clone()
    first, again, other = (augment(images, torch.Generator().manual_seed(seed)) for seed in (5, 5, 6))
    assert torch.equal(images, before)
    assert first.shape == images.shape
    assert ((first >= 0) & (first <= 1)).all()
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(state, torch.get_rng_state())


def test_a_vignette_is_black_without_and_changes_nothing_within() -> None:
    images = torch.ones(200, 3, 64, 64)
    seen = Vignette(probability=1, radius=(0.8, 0.8), edge=(0.01, 0.01), shift=0)(images, torch.Generator())
    y, x = torch.meshgrid(torch.arange(64) - 31.5, torch.arange(64) - 31.5, indexing="ij")
    away = torch.hypot(x, y) / 32
    assert (seen[:, :, away > 0.82] == 0).all()
    assert (seen[:, :, away < 0.78] == 1).all()
    some = Vignette(probability=0.5, radius=(0.8, 0.8))(images, torch.Generator().manual_seed(0))
    assert 70 < (some[:, 0, 0, 0] == 0).sum() < 130


def test_deletion_takes_whole_cells_and_puts_the_mean_or_the_blurred_image_there() -> None:
    images = torch.rand(200, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    seen = Deletion(probability=1, cells=(4,))(images, torch.Generator().manual_seed(0))
    taken = (seen != images).any(1)
    cells = taken.unfold(1, 4, 4).unfold(2, 4, 4).flatten(3)
    assert torch.equal(cells.any(3), cells.all(3))
    shares = cells.any(3).float().mean((1, 2))
    assert shares.min() < 0.1
    assert shares.max() > 0.9
    assert 0.4 < shares.mean() < 0.6
    means = torch.isclose(seen, images.mean((2, 3), keepdim=True)).all(1)
    by_mean = [bool(mean[which].all()) for mean, which in zip(means, taken, strict=True) if which.any()]
    assert 0.4 < sum(by_mean) / len(by_mean) < 0.6
    kept = (Deletion(probability=0.25)(images, torch.Generator().manual_seed(0)) == images).flatten(1).all(1)
    assert 0.65 < kept.float().mean() < 0.9


def test_augmentations_in_turn_are_those_of_each() -> None:
    images = torch.rand(2, 3, 8, 8)
    steps = (Jitter(), Vignette(probability=1, radius=(0.5, 0.5)))
    generator = torch.Generator().manual_seed(2)
    expected = steps[1](steps[0](images, generator), generator)
    assert torch.equal(InTurn(steps)(images, torch.Generator().manual_seed(2)), expected)


def test_the_network_is_kept_after_every_epoch_if_asked(tmp_path: Path) -> None:
    task, other = _Brightness(tmp_path / "one"), _Brightness(tmp_path / "two")
    history = task.train(epochs=tmp_path / "epochs").history
    paths = sorted((tmp_path / "epochs").iterdir())
    assert [path.name for path in paths] == [f"brightness-epoch-{epoch.epoch:02d}.safetensors" for epoch in history]
    networks = [task.network() for _ in paths]
    told = [load_checkpoint(path, network, CLASSES) for path, network in zip(paths, networks, strict=True)]
    assert [metadata["epoch"] for metadata in told] == [epoch.epoch for epoch in history]
    assert not torch.equal(*(next(network.parameters()) for network in (networks[0], networks[-1])))
    heldout = evaluate(networks[-1].eval(), task.samples(), CLASSES)
    assert told[-1]["heldout"]["accuracy"] == heldout.accuracy
    other.train()
    both = task.model().state_dict(), other.model().state_dict()
    assert all(torch.equal(both[0][key], both[1][key]) for key in both[0])  # keeping changes nothing
