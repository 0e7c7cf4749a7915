"""What a model answers in one pass, its embeddings, and where t-SNE lays them out."""

import pytest
import torch
from torch import Tensor, nn

from tasks.base import Sample
from tasks.evaluation import tables
from tasks.evaluation.predictions import Predictions, predict
from tasks.networks.architectures import densenet121, resnet18, squeezenet1_0, vgg16


def samples(n_samples: int = 6, n_classes: int = 3, side: int = 32) -> list[Sample]:
    generator = torch.Generator().manual_seed(0)
    return [
        Sample(torch.rand((3, side, side), generator=generator), torch.tensor(index % n_classes), f"s{index}")
        for index in range(n_samples)
    ]


def inputs(of: list[Sample]) -> Tensor:
    return torch.stack([sample.input for sample in of])


def hooks(model: nn.Module) -> int:
    return sum(len(module._forward_pre_hooks) + len(module._forward_hooks) for module in model.modules())


class Headed(nn.Module):
    """Its auxiliary head is registered last, and not used."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 3)
        self.body = nn.Linear(3, 4)
        self.auxiliary = nn.Linear(4, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.body(images.mean((2, 3))))


def test_embeddings_are_what_the_last_layer_is_given() -> None:
    model = Headed().eval()
    found = predict(model, samples(), 3, batch_size=4)
    with torch.no_grad():
        assert torch.allclose(found.embeddings, model.body(inputs(samples()).mean((2, 3))), atol=1e-6)
        assert torch.allclose(found.logits, model(inputs(samples())).double(), atol=1e-6)
    assert found.ids == tuple(f"s{index}" for index in range(6))
    assert found.labels.tolist() == [0, 1, 2] * 2


@pytest.mark.parametrize(
    ("network", "width"),
    [
        (lambda: vgg16(3, width=1 / 8, pooled=1, hidden=16), 16),
        (lambda: resnet18(3, width=1 / 8), 64),
        (lambda: densenet121(3, width=1 / 4), 256),
        (lambda: squeezenet1_0(3), 512),
    ],
    ids=["vgg16", "resnet18", "densenet121", "squeezenet"],
)
def test_every_network_has_embeddings_and_is_left_as_it_was(network, width: int) -> None:
    model = network().eval()
    found = predict(model, samples(2), 3)
    assert found.embeddings is not None
    assert found.embeddings.shape == (2, width)
    assert hooks(model) == 0
    assert not any(module.training for module in model.modules())


def test_the_last_convolution_is_pooled_over_space() -> None:
    model = squeezenet1_0(3).eval()
    found = predict(model, samples(2), 3)
    with torch.no_grad():
        features = model.network.features(model.preprocessing(inputs(samples(2))))
    assert torch.allclose(found.embeddings, features.mean((2, 3)), atol=1e-6)


def test_hooks_go_when_the_model_fails() -> None:
    class Failing(Headed):
        def forward(self, images: Tensor) -> Tensor:
            super().forward(images)
            raise RuntimeError("out of order")

    model = Failing()
    with pytest.raises(RuntimeError, match="out of order"):
        predict(model, samples(), 3)
    assert hooks(model) == 0


def test_a_model_without_layers_has_no_embeddings() -> None:
    class Means(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.mean((2, 3))

    found = predict(Means(), samples(), 3)
    assert found.embeddings is None
    assert tables.no_map(found) == "the network has no linear or convolutional layer to take the embeddings from"
    with pytest.raises(ValueError, match="no t-SNE: the network has no"):
        tables.embedding_map(found, "abc")


def test_only_the_chosen_samples_are_asked_about_in_their_order() -> None:
    steps = []
    found = predict(
        Headed(), samples(), 3, 2, chosen=[4, 0, 1], progress=lambda done, total: steps.append((done, total))
    )
    assert found.ids == ("s4", "s0", "s1")
    assert steps == [(2, 3), (3, 3)]


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({}, "there is no sample"),
        ({"label": torch.tensor(3)}, "s0: its label is not in 0 to 2"),
        ({"label": torch.tensor(-2)}, "s0: its label is not in 0 to 2"),
        ({"label": torch.tensor([0, 2, 1])}, "s0: its label is not in 0 to 1"),
        ({"label": torch.tensor([0, 1])}, "s0: has 2 labels, not 3"),
        ({"input": torch.full((3, 4, 4), 2.0)}, r"s0: an input lies in \[0, 1\]"),
    ],
)
def test_samples_that_break_their_contract_are_named(changed: dict[str, Tensor], complaint: str) -> None:
    broken = [sample._replace(**changed) for sample in samples(1)] if changed else []
    with pytest.raises(ValueError, match=complaint):
        predict(Headed(), broken, 3)


def test_answers_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match=r"the model answers \(6, 3\) to 6 images, not \(6, 4\)"):
        predict(Headed(), samples(), 4)
    model = Headed()
    nn.init.constant_(model.head.bias, torch.nan)
    with pytest.raises(ValueError, match="s0: the model's answer is not finite"):
        predict(model, samples(), 3)


def clustered(n_samples: int, n_features: int = 10) -> Predictions:
    """Two groups far apart."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(n_samples) % 2
    embeddings = torch.randn((n_samples, n_features), generator=generator) + 20 * labels[:, None]
    ids = tuple(f"s{index}" for index in range(n_samples))
    return Predictions(torch.eye(2, dtype=torch.float64)[labels], labels, ids, embeddings)


def test_the_map_keeps_groups_apart_and_is_the_same_each_time() -> None:
    found = clustered(60)
    before = torch.random.get_rng_state()
    places = tables.embedding_map(found, ("a", "b"))
    assert places.columns.tolist() == ["id", "x", "y", "label", "prediction"]
    assert torch.equal(before, torch.random.get_rng_state())
    again = tables.embedding_map(found, ("a", "b"))
    assert places.equals(again)
    points = places[["x", "y"]].to_numpy()
    gaps = ((points[:, None] - points[None]) ** 2).sum(-1) + 1e9 * torch.eye(60).numpy()
    assert (gaps.argmin(1) % 2 == found.labels.numpy()).all()


@pytest.mark.parametrize(("n_samples", "n_features"), [(4, 10), (5, 1), (4, 2), (31, 3)])
def test_few_samples_or_features_are_laid_out_all_the_same(n_samples: int, n_features: int) -> None:
    places = tables.embedding_map(clustered(n_samples, n_features), ("a", "b"))
    assert len(places) == n_samples
    assert places[["x", "y"]].notna().all(axis=None)


def test_what_cannot_be_laid_out_says_why() -> None:
    found = clustered(8)
    assert tables.no_map(found) is None
    assert tables.no_map(clustered(3)) == "3 samples are too few"
    assert tables.no_map(found._replace(embeddings=torch.ones(8, 4))) == "all embeddings are the same"
    assert tables.no_map(found._replace(embeddings=torch.full((8, 4), torch.inf))) == "the embeddings are not finite"


def test_a_map_of_many_labels_has_a_column_a_finding() -> None:
    labels = torch.tensor([[0, 1], [1, -1], [0, 0], [1, 1], [0, 1]])
    found = clustered(5)._replace(labels=labels, logits=torch.zeros((5, 2), dtype=torch.float64))
    places = tables.embedding_map(found, ("a", "b"))
    assert places.columns.tolist() == ["id", "x", "y", "truth: a", "truth: b"]
    assert places["truth: b"].isna().tolist() == [False, True, False, False, False]
