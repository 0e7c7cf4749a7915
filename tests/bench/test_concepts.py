"""`bench concepts`: which channels it lists, which patches it cuts out, and what it complains about."""

import re
from dataclasses import replace

import pytest
import torch
from matplotlib.image import imread
from torch import nn

from bench import concepts as module
from bench.catalog import catalog
from bench.concepts import LAYERS, Decisions, class_index, decisions, drawn, layer_names, most_relevant, window
from bench.errors import UserError
from explainers.crp import concepts, conditional
from tasks.base import Sample

TASKS = catalog().tasks
PHANTOM = "phantom_melanoma_vgg16"
FEW = ("--images", 24, "--concepts", 2, "--patches", 3)

TRAINABLE = """
from tasks.base import checkpoint_folder
from tasks.learning.fitting import Recipe
from tasks.networks.checkpoints import save_checkpoint
from tasks.training import Trainable


class Untold(Trainable):
    '''A network without a layer that has concepts.'''

    def classes(self):
        return ("left", "right")

    def network(self):
        return nn.Sequential(*LAYERS, nn.Flatten(), nn.Linear(3 * SIDE * SIDE, 2))

    def part(self, name):
        return [ToyTask().sample(index) for index in range(8)]

    def checkpoint(self):
        return checkpoint_folder() / "untold.safetensors"

    def recipe(self):
        return Recipe(epochs=1, learning_rate=0.01, batch_size=8)


untold = Untold()
save_checkpoint(untold.checkpoint(), untold.network(), {"classes": ["left", "right"]})
"""


def report(done, total):
    """To nobody."""


@pytest.fixture(scope="module")
def model():
    return TASKS[PHANTOM].model()


@pytest.fixture(scope="module")
def found(model):
    task = TASKS[PHANTOM]
    return decisions(model, task.part("train"), task.classes(), 1, 24, report)


def test_table_and_picture_are_made(bench, tmp_path):
    sheet = tmp_path / "new" / "concepts.png"
    answer = bench("concepts", PHANTOM, *FEW, "--out", sheet, "--width", 127, "--dpi", 80)
    assert answer.status == 0, answer.err
    assert imread(sheet).shape[1] == 127 / 25.4 * 80
    assert re.search(rf"{PHANTOM}: \d+ decisions for 'malignant' among 24 training images", answer.out)
    for layer in ("network.features.29", "network.features.20", "network.features.8"):
        assert layer in answer.out
    assert len(re.findall(r"\d\.\d% +for +\d+ of \d+", answer.out)) == 6
    assert f"Drawn: {sheet}" in answer.out
    assert sheet.read_bytes()[:4] == b"\x89PNG"
    assert bench("concepts", PHANTOM, *FEW).out == answer.out.replace(f"Drawn: {sheet}\n", "")


def test_layers_may_be_chosen_by_depth_and_by_name(bench):
    answer = bench("concepts", PHANTOM, *FEW, "--class", "benign", "--layers", "network.features.5,deep")
    assert answer.status == 0, answer.err
    assert "decisions for 'benign'" in answer.out
    assert answer.out.index("network.features.5") < answer.out.index("network.features.29")
    assert "shallow" not in answer.out


def test_decisions_are_those_for_the_class(model, found):
    task = TASKS[PHANTOM]
    assert 0 < len(found.inputs) < found.n_seen == 24
    assert (model(found.inputs).argmax(1) == 1).all()
    assert found.targets.tolist() == [1] * len(found.inputs)
    assert set(found.truths) <= set(task.classes())
    others = decisions(model, task.part("train"), task.classes(), 0, 24, report)
    assert len(others.inputs) + len(found.inputs) == 24
    again = decisions(model, task.part("train"), task.classes(), 1, 24, report)
    assert torch.equal(again.inputs, found.inputs)


def test_a_finding_of_many_is_decided_by_its_own_logit():
    """Three findings; the images' brightness decides the second, whatever the others say."""

    class Bright(nn.Module):
        def __init__(self):
            super().__init__()
            self.none = nn.Parameter(torch.zeros(1))

        def forward(self, inputs):
            bright = inputs.mean((1, 2, 3)) - 0.5 + self.none
            return torch.stack([bright + 5, bright, -bright], dim=1)

    samples = [Sample(torch.full((3, 8, 8), value), torch.tensor([0, 1, 0]), str(value)) for value in (0.2, 0.7, 0.9)]
    found = decisions(Bright(), samples, ("a", "b_c", "d"), 1, 10, report)
    assert sorted(found.inputs[:, 0, 0, 0].tolist()) == pytest.approx([0.7, 0.9])
    assert found.truths == ("b c", "b c")
    assert found.n_seen == 3


def test_concepts_are_ranked_by_their_share_and_counted(model, found):
    layer = "network.features.29"
    relevance = concepts(model, found.inputs, found.targets, layer)
    listed = most_relevant(model, found, layer, 4, 3, report)
    total = [float(relevance[:, channel].sum()) for channel in range(relevance.shape[1])]
    by_total = sorted(range(len(total)), key=lambda channel: -total[channel])
    assert [concept.channel for concept in listed] == by_total[:4]
    for concept in listed:
        assert concept.share == pytest.approx(total[concept.channel] / sum(total), rel=1e-4)
        own = relevance[:, concept.channel]
        better = [int((row > value).sum()) for row, value in zip(relevance, own, strict=True)]
        assert concept.n_top == sum(n < 4 for n in better)
        strongest = sorted(range(len(own)), key=lambda index, own=own: -float(own[index]))
        assert list(concept.strongest) == strongest[:3]


def test_a_patch_holds_what_the_strongest_neuron_was_moved_by(model, found):
    concept = most_relevant(model, found, "network.features.8", 1, 3, report)[0]
    row = drawn(model, found, concept, "heading")
    assert (row.layer, row.title.splitlines()[0]) == ("heading", f"channel {concept.channel}")
    assert len(row.patches) == 3
    channel = torch.tensor([[concept.channel]])
    for place, (index, patch) in enumerate(zip(concept.strongest, row.patches, strict=True)):
        one, target = found.inputs[index : index + 1], found.targets[index : index + 1]
        heat = conditional(model, one, target, concept.layer, channel, strongest=True)[0, 0].abs()
        box = window(heat)
        inside = heat[box.top : box.bottom, box.left : box.right].sum() / heat.sum()
        assert 0.8 <= inside <= 1.0001
        assert patch.image.shape == (3, box.bottom - box.top, box.bottom - box.top)
        assert patch.image.shape[1] < 48, "far less than the image"
        assert (patch.image == one[0, :, box.top : box.bottom, box.left : box.right].numpy()).all()
        assert patch.caption == found.truths[index]
        if place == 0:
            assert row.box == box
            whole = conditional(model, one, target, concept.layer, channel)[0, 0]
            assert torch.allclose(torch.from_numpy(row.heat), whole, atol=1e-6 * float(whole.abs().max()))
            assert (row.image == one[0].numpy()).all()


@pytest.mark.parametrize(
    ("rows", "columns", "wanted"),
    [
        (slice(0, 1), slice(0, 1), (0, 0, 4, 4)),
        (slice(23, 24), slice(35, 36), (20, 32, 24, 36)),
        (slice(0, 24), slice(0, 36), (0, 6, 24, 30)),
        (slice(2, 21), slice(30, 36), (2, 17, 21, 36)),
    ],
)
def test_a_window_is_square_and_within_the_image(rows, columns, wanted):
    """An image of 24 x 36."""
    heat = torch.zeros(24, 36)
    heat[rows, columns] = -1.0
    assert window(heat) == wanted


def test_a_window_leaves_the_tails_out():
    heat = torch.zeros(24, 24)
    heat[8:16, 8:16] = 1.0
    for corner in ((0, 0), (0, 23), (23, 0), (23, 23)):
        heat[corner] = -1.5
    assert window(heat) == (8, 8, 16, 16)
    for corner in ((0, 0), (0, 23), (23, 0), (23, 23)):
        heat[corner] = -2.0
    assert window(heat) == (0, 0, 24, 24)


def test_two_names_of_one_layer_are_one_layer(found):
    network = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2)).eval()
    network(found.inputs[:1])
    assert layer_names(network, found.inputs, ("deep", "shallow")) == {"1": "deep, shallow"}


def test_the_first_class_that_finds_something_is_the_default():
    assert class_index(TASKS["phantom_brain_mri_vgg16"], None) == 0
    assert TASKS[PHANTOM].classes()[class_index(TASKS[PHANTOM], None)] == "malignant"
    assert class_index(TASKS[PHANTOM], "benign") == 0


def test_entries_are_the_layers():
    assert {name: entry.depth for name, entry in LAYERS.items()} == {"deep": 1, "middle": 2 / 3, "shallow": 1 / 3}


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((PHANTOM, "--out", "x.doc"), "--out x.doc: give it the ending .png, .pdf or .svg"),
        ((PHANTOM, "--class", "wart"), "no class is called 'wart': choose among benign, malignant"),
        ((PHANTOM, *FEW, "--layers", "network.nothing"), "no layer 'network.nothing'; choose deep"),
        ((PHANTOM, *FEW, "--layers", "network.classifier.0"), "network.classifier.0 puts out no (N, C, h, w) maps"),
        ((PHANTOM, *FEW, "--layers", ","), "--layers names none"),
        (("brain_mri_vgg16",), "brain_mri_vgg16: data not found"),
        (("phantom_melanoma*",), "one task is looked into at a time"),
        (("melanomma",), "no task is called 'melanomma'"),
    ],
)
def test_what_cannot_be_shown_is_one_line(bench, arguments, complaint):
    answer = bench("concepts", *arguments)
    assert answer.status == 2
    assert complaint in answer.err
    assert answer.err.count("\n") == 1


def test_a_task_without_training_images_is_one_line(bench, write):
    answer = bench("concepts", "toy", "--plugins", write("toy = ToyTask()"))
    assert answer.status == 2
    assert answer.err == "bench: toy brings its own model and has no training images to look for concepts in\n"


@pytest.mark.parametrize(
    ("layers", "reason"),
    [
        ("nn.Identity()", "there is a way round every feature map of the model"),
        ("nn.SiLU(), nn.Conv2d(3, 3, 1), nn.ReLU()", "no rule for SiLU 0"),
    ],
)
def test_a_network_without_concepts_is_one_line(bench, write, layers, reason):
    plugin = write(TRAINABLE.replace("*LAYERS", layers))
    answer = bench("concepts", "untold", "--plugins", plugin)
    assert answer.status == 2
    assert answer.err == f"bench: the network has no concepts to look for: {reason}\n"


def test_a_class_that_is_never_chosen_is_one_line():
    network = nn.Sequential(nn.Flatten(), nn.Linear(192, 2))
    nn.init.zeros_(network[1].weight)
    network[1].bias.data = torch.tensor([1.0, 0.0])
    samples = [Sample(torch.rand(3, 8, 8), torch.tensor(index % 2), str(index)) for index in range(4)]
    with pytest.raises(UserError, match="takes none of 4 training images for 'ill': look at more by --images"):
        decisions(network, samples, ("healthy", "ill"), 1, 10, report)


def test_batches_do_not_matter(model, found, monkeypatch):
    few = replace(found, inputs=found.inputs[:5], targets=found.targets[:5], truths=found.truths[:5])
    assert isinstance(few, Decisions)
    whole = most_relevant(model, few, "network.features.29", 3, 2, report)
    monkeypatch.setattr(module, "_BATCH", 2)
    for one, other in zip(whole, most_relevant(model, few, "network.features.29", 3, 2, report), strict=True):
        assert (one.channel, one.n_top, one.strongest) == (other.channel, other.n_top, other.strongest)
        assert one.share == pytest.approx(other.share, rel=1e-5)
