"""Weights in files: what is saved comes back; a bad file is one clear line and changes nothing."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torchvision import models

from tasks.networks.checkpoints import initialise, load_checkpoint, read_initial_weights, save_checkpoint

CLASSES = ("cat", "dog")


def _network(n_outputs: int = 2) -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, n_outputs))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    saved = tmp_path / "folder" / "small_task.safetensors"
    save_checkpoint(saved, _network(), {"classes": list(CLASSES), "scores": {"accuracy": 0.5}})
    return saved


def _changed(path: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    weights = load_file(path)
    change(weights)
    save_file(weights, path, {"classes": json.dumps(CLASSES)})


def _refused(path: Path, message: str, classes: tuple[str, ...] = CLASSES) -> None:
    model = _network()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=message) as caught:
        load_checkpoint(path, model, classes)
    line = str(caught.value)
    assert line.startswith(f"{path}: ")
    assert line.endswith("delete it and run `bench train small_task`")
    assert "\n" not in line
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_checkpoint_comes_back_with_its_metadata(tmp_path: Path) -> None:
    model, other, path = _network(), _network(), tmp_path / "task.safetensors"
    save_checkpoint(path, model, {"classes": list(CLASSES), "scores": {"accuracy": 0.5}})
    metadata = load_checkpoint(path, other, CLASSES)
    assert metadata == {"classes": list(CLASSES), "scores": {"accuracy": 0.5}}
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in other.state_dict().items())


def test_saving_leaves_no_other_file(path: Path) -> None:
    assert list(path.parent.iterdir()) == [path]


def test_saving_that_fails_keeps_the_old_checkpoint(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(TypeError):
        save_checkpoint(path, _network(), {"classes": object()})
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_channels_last_weights_come_back(tmp_path: Path) -> None:
    model = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    save_checkpoint(tmp_path / "conv.safetensors", model, {"classes": []})
    other = nn.Conv2d(3, 4, 3)
    load_checkpoint(tmp_path / "conv.safetensors", other, ())
    assert torch.equal(model.weight, other.weight)


def test_absent_checkpoint_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"gone.safetensors: no such checkpoint; run `bench train gone`"):
        load_checkpoint(tmp_path / "gone.safetensors", _network(), CLASSES)


@pytest.mark.parametrize("length", [0, 5, 100, -1])
def test_truncated_checkpoint_is_refused(path: Path, length: int) -> None:
    path.write_bytes(path.read_bytes()[:length])
    _refused(path, "not a readable checkpoint")


def test_text_instead_of_a_checkpoint_is_refused(path: Path) -> None:
    path.write_text("hello, this is no checkpoint at all")
    _refused(path, "not a readable checkpoint")


def test_checkpoint_of_other_classes_is_refused(path: Path) -> None:
    _refused(path, r"made for the classes \['cat', 'dog'\], not \['dog', 'cat'\]", classes=("dog", "cat"))


def test_checkpoint_without_metadata_is_refused(path: Path) -> None:
    save_file(load_file(path), path)
    _refused(path, "made for the classes None")


def test_checkpoint_with_a_missing_key_is_refused(path: Path) -> None:
    _changed(path, lambda weights: (weights.pop("0.bias"), weights.pop("2.bias")))
    _refused(path, "lacks 0.bias and 1 more")


def test_checkpoint_with_an_unexpected_key_is_refused(path: Path) -> None:
    _changed(path, lambda weights: weights.update(extra=torch.zeros(1)))
    _refused(path, "has extra, which the network does not")


def test_checkpoint_of_another_shape_is_refused(path: Path) -> None:
    _changed(path, lambda weights: weights.update({"0.bias": torch.zeros(5)}))
    _refused(path, r"the shape of 0.bias is \(5,\), not \(4,\)")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_checkpoint_that_is_not_finite_is_refused(path: Path, value: float) -> None:
    _changed(path, lambda weights: weights["2.weight"].fill_(value))
    _refused(path, "2.weight is not finite")


def test_initial_weights_leave_a_head_of_other_classes_fresh() -> None:
    network, start = _network(2), _network(1000).half().state_dict()
    head = network[2].weight.clone()
    initialise(network, start, "start.pth")
    assert torch.equal(network[0].weight, start["0.weight"].float())
    assert torch.equal(network[2].weight, head)


def test_initial_weights_of_the_same_classes_fill_the_head_too() -> None:
    network, start = _network(2), _network(2).state_dict()
    initialise(network, start, "start.pth")
    assert torch.equal(network[2].weight, start["2.weight"])


def test_initial_weights_of_old_torchvision_files_fit() -> None:
    network, start = models.densenet121(), models.densenet121().state_dict()
    old = {re.sub(r"(layer\d+\.(?:norm|conv))([12])", r"\1.\2", key): value for key, value in start.items()
           if not key.endswith("num_batches_tracked")}  # fmt: skip
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    initialise(network, old, "start.pth")
    assert all(torch.equal(value, start[key]) for key, value in network.state_dict().items())


def test_initial_weights_of_another_network_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^start.pth: lacks 0.weight .*; give weights of this Sequential$"):
        initialise(_network(), models.squeezenet1_0().state_dict(), "start.pth")
    with pytest.raises(ValueError, match=r"the shape of 0.weight is"):
        initialise(_network(), {**_network().state_dict(), "0.weight": torch.zeros(4, 5)}, "start.pth")


def test_initial_weights_are_read_from_a_state_dict(tmp_path: Path) -> None:
    torch.save(_network().state_dict(), tmp_path / "start.pth")
    assert list(read_initial_weights(tmp_path / "start.pth")) == list(_network().state_dict())


class _Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("unpickled",)


@pytest.mark.parametrize("content", [_Evil(), [1, 2], {}, {"a": 1}, torch.zeros(3)], ids=lambda x: type(x).__name__)
def test_anything_but_a_state_dict_is_refused(
    content: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(content, tmp_path / "start.pth")
    with pytest.raises(ValueError, match=r"^[^\n]*start.pth: [^\n]*give a .pth file that holds a state dict$"):
        read_initial_weights(tmp_path / "start.pth")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04" + bytes(50)], ids=["empty", "text", "zip"])
def test_damaged_initial_weights_are_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "start.pth").write_bytes(content)
    with pytest.raises(ValueError, match=r"^[^\n]*start.pth: not readable as weights [^\n]*$"):
        read_initial_weights(tmp_path / "start.pth")


def test_truncated_initial_weights_are_refused(tmp_path: Path) -> None:
    torch.save(_network().state_dict(), tmp_path / "start.pth")
    (tmp_path / "start.pth").write_bytes((tmp_path / "start.pth").read_bytes()[:-200])
    with pytest.raises(ValueError, match=r"not readable as weights"):
        read_initial_weights(tmp_path / "start.pth")


def test_absent_initial_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"gone.pth: no such file"):
        read_initial_weights(tmp_path / "gone.pth")
