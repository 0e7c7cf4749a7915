"""A user's own images and network: the folders, the masks, the kinds of files, what is no good."""

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from bench.environment import weights_fingerprint
from explainers.cam import grad_cam
from explainers.gradient import gradient
from explainers.lrp import lrp_epsilon_plus
from tasks.networks.foreign import PlainLayout
from tasks.own import FolderTask

SIDE = 24


class Net(nn.Module):
    """As tutorials write it: a ReLU in place, a view that needs the plain memory layout."""

    def __init__(self, n_classes: int = 2, training: bool = False) -> None:
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.relu, self.dropout = nn.ReLU(inplace=True), nn.Dropout(0.5)
        self.linear = nn.Linear(4 * (SIDE // 4) ** 2, n_classes)
        self.train(training)

    def forward(self, inputs: Tensor) -> Tensor:
        maps = nn.functional.max_pool2d(self.relu(self.norm(self.convolution(inputs))), 4)
        return self.linear(self.dropout(maps.view(maps.size(0), -1)))


class Flat(nn.Module):
    """The same, content with any layout."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.linear = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.linear(torch.relu(self.convolution(inputs)).mean((2, 3)))


def picture(path: Path, mode: str = "RGB", size: tuple[int, int] = (30, 20), value: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(value).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(noise).convert(mode).save(path)
    return path


def mask(path: Path, size: tuple[int, int] = (30, 20)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((size[1], size[0]), dtype=np.uint8)
    pixels[: size[1] // 2] = 255
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    picture(tmp_path / "images" / "ill" / "b.png", "L")
    picture(tmp_path / "images" / "ill" / "deeper" / "a.TIF", "RGBA", (50, 50))
    picture(tmp_path / "images" / "healthy" / "2.jpg")
    picture(tmp_path / "images" / "healthy" / "1.png", "P", (64, 10))
    (tmp_path / "images" / "healthy" / "notes.txt").write_text("not a picture")
    (tmp_path / "images" / ".ipynb_checkpoints").mkdir()
    picture(tmp_path / "images" / "ill" / ".hidden.png")
    mask(tmp_path / "masks" / "ill" / "b.gif")
    mask(tmp_path / "masks" / "ill" / "deeper" / "a.png", (25, 25))
    return tmp_path


@pytest.fixture
def net() -> nn.Module:
    """With statistics and weights of its own."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        made = Net()
        made.norm.running_mean.uniform_(-0.5, 0.5)
        made.norm.running_var.uniform_(0.5, 2)
    return made


def saved(net: nn.Module, kind: str, folder: Path) -> dict[str, object]:
    """The settings that bring back a network saved as a kind of file."""
    path = folder / f"net{kind}"
    if kind == ".safetensors":
        save_file(net.state_dict(), path)
    elif kind == ".pth":
        torch.save(net.state_dict(), path)
    elif kind == ".pt":
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=r"`torch\.jit\.\w+` is")  # writing it is the user's affair
            torch.jit.save(torch.jit.script(net), path)
    else:
        n = torch.export.Dim("n", min=1, max=1024)
        torch.export.save(torch.export.export(net, (torch.rand(2, 3, SIDE, SIDE),), dynamic_shapes=({0: n},)), path)
    return {"weights": path, "network": None if kind in (".pt", ".pt2") else Net}


def task(folder: Path, **settings: object) -> FolderTask:
    return FolderTask(**({"images": folder / "images", "network": Net, "size": SIDE} | settings))  # type: ignore[arg-type]


def test_folders_are_classes_and_every_prefix_is_balanced(folder: Path):
    own = task(folder)
    samples = own.samples()
    assert own.unavailable() is None
    assert own.classes() == ("healthy", "ill")
    ids = [samples[index].id for index in range(len(samples))]
    assert ids == ["healthy/1.png", "ill/b.png", "healthy/2.jpg", "ill/deeper/a.TIF"]
    assert [int(samples[index].label) for index in range(4)] == [0, 1, 0, 1]
    (batch,) = own.batches(8)
    assert batch.inputs.shape == (4, 3, SIDE, SIDE)
    assert batch.masks is None


def test_masks_lie_under_the_same_path_with_any_ending(folder: Path):
    (batch,) = task(folder, masks=folder / "masks").batches(8)
    assert batch.masks is not None
    assert batch.masks.float().mean((1, 2, 3)).tolist() == [0, 0.5, 0, 0.5]
    assert bool(batch.masks[1, :, : SIDE // 2].all())


def test_a_second_reader_has_a_folder_and_may_have_read_a_part(folder: Path):
    mask(folder / "second" / "ill" / "b.png", (60, 40))
    own = task(folder, masks=folder / "masks", second=folder / "second")
    (batch,) = own.batches(8)
    assert batch.seconds is not None
    assert [None if one is None else one.float().mean().item() for one in batch.seconds] == [None, 0.5, None, None]
    (without,) = task(folder, masks=folder / "masks").batches(8)
    assert without.seconds is None
    assert repr(own) == repr(task(folder, masks=folder / "masks"))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: mask(path, (25, 25)), r"second.ill.b\.png: is 25 x 25, and its image 30 x 20"),
        (lambda path: path.write_bytes(b"no"), r"second.ill.b\.png: not a readable image"),
        (lambda path: path.rename(path.with_name("z.png")), r"second: no mask has the path of an image"),
    ],
)
def test_a_second_mask_that_is_no_good_is_one_line(folder: Path, spoil: Callable[[Path], None], message: str):
    spoil(mask(folder / "second" / "ill" / "b.png"))
    with pytest.raises(ValueError, match=message) as told:
        list(task(folder, masks=folder / "masks", second=folder / "second").batches(8))
    assert "\n" not in str(told.value)


def test_a_second_reader_needs_a_first_and_a_folder_that_is_there(folder: Path):
    with pytest.raises(ValueError, match="give `masks`, too"):
        task(folder, second=folder / "second")
    reason = task(folder, masks=folder / "masks", second=folder / "second").unavailable()
    assert reason is not None
    assert f"no folder {folder / 'second'}" in reason


@pytest.mark.parametrize("kind", [".safetensors", ".pth", ".pt", ".pt2"])
def test_a_network_from_any_file_answers_as_it_did(folder: Path, net: nn.Module, kind: str):
    settings = saved(net, kind, folder)
    model = task(folder, mean=None, **settings).model()
    images = torch.rand(5, 3, SIDE, SIDE)
    torch.testing.assert_close(model(images), net(images), rtol=1e-4, atol=1e-5)
    assert not any(parameter.requires_grad for parameter in model.parameters())
    mean, deviation = (0.5, 0.4, 0.3), (0.2, 0.2, 0.2)
    normalized = (images - torch.tensor(mean)[:, None, None]) / torch.tensor(deviation)[:, None, None]
    model = task(folder, mean=mean, deviation=deviation, **settings).model()
    torch.testing.assert_close(model(images), net(normalized), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [".pth", ".pt", ".pt2"])
def test_a_view_of_maps_as_rows_survives_channels_last(folder: Path, net: nn.Module, kind: str):
    model = task(folder, mean=None, **saved(net, kind, folder)).model()
    images = torch.rand(5, 3, SIDE, SIDE)
    moved = model.to("cpu").to(memory_format=torch.channels_last)
    answer = moved(images.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(answer, net(images), rtol=1e-4, atol=1e-5)
    assert moved.to(torch.float64)(images.double()).dtype == torch.float64 or kind == ".pt2"


def test_a_network_of_any_layout_is_left_as_it_is(folder: Path):
    assert not isinstance(task(folder, network=Flat).model(), PlainLayout)


def test_nothing_is_computed_in_place(folder: Path):
    layers = (nn.Conv2d(3, 2, 3), nn.ReLU6(inplace=True), nn.SiLU(inplace=True), nn.ReLU(inplace=True))
    model = task(
        folder, network=lambda: nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()), mean=None
    ).model()
    assert not any(getattr(module, "inplace", False) for module in model.modules())


@pytest.mark.parametrize("kind", [".pt", ".pt2"])
def test_graphs_of_operations_have_gradients_and_no_layers(folder: Path, net: nn.Module, kind: str):
    own = task(folder, mean=None, **saved(net, kind, folder))
    model, images, targets = own.model(), torch.rand(2, 3, SIDE, SIDE), torch.tensor([0, 1])
    torch.testing.assert_close(gradient(model, images, targets), gradient(net, images, targets), rtol=1e-3, atol=1e-5)
    assert "no convolution to look at" in str(grad_cam.inapplicable(model))
    reason = str(lrp_epsilon_plus.inapplicable(model))
    assert "is a graph of operations, not of modules" in reason
    assert "rules need the network that it was made from" in reason


def test_layers_of_a_module_are_within_reach(folder: Path, net: nn.Module):
    model = task(folder, **saved(net, ".pth", folder)).model()
    assert isinstance(model, PlainLayout)
    assert lrp_epsilon_plus.inapplicable(model) is None
    images, targets = torch.rand(2, 3, SIDE, SIDE), torch.tensor([0, 1])
    assert bool(lrp_epsilon_plus(model, images, targets).any())
    assert grad_cam.describe(model, images) == {"layer": "network.network.relu"}


def test_a_network_without_weights_is_the_same_in_every_run(folder: Path):
    before = torch.get_rng_state()
    first, second = (weights_fingerprint(task(folder).model()) for _ in range(2))
    assert first == second
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("kind", [".pth", ".pt", ".pt2"])
def test_weights_are_fingerprinted(folder: Path, net: nn.Module, kind: str):
    own = task(folder, **saved(net, kind, folder))
    first = weights_fingerprint(own.model())
    assert weights_fingerprint(own.model()) == first
    with torch.no_grad():
        net.linear.bias += 1
    saved(net, kind, folder)
    assert weights_fingerprint(own.model()) != first


@pytest.mark.parametrize("kind", [".pt", ".pt2"])
def test_the_code_of_a_graph_is_fingerprinted(folder: Path, net: nn.Module, kind: str):
    own = task(folder, mean=None, **saved(net, kind, folder))
    first = weights_fingerprint(own.model())
    net.norm.eps = 0.5  # a constant in the graph, neither in the state nor in the modules' names
    saved(net, kind, folder)
    assert weights_fingerprint(own.model()) != first


def test_where_the_files_lie_is_not_in_the_repr(folder: Path):
    own = task(folder, nothing_found="healthy")
    assert str(folder) not in repr(own)
    assert "nothing_found='healthy'" in repr(own)
    assert own.negative() == "healthy"


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"images": Path("/no/such")}, "no folder /no/such: put the data there"),
        ({"masks": Path("/no/such")}, "no folder /no/such"),
        ({"images": Path(__file__).parent}, "no folder of a class in"),
        ({"nothing_found": "sane"}, "nothing_found='sane' is none of the classes healthy, ill"),
        ({"weights": Path("/no/such.pth")}, "no file of weights /no/such.pth"),
    ],
)
def test_what_is_not_there_makes_it_unavailable(folder: Path, settings: dict[str, object], reason: str):
    own = task(folder, **settings)
    assert reason in str(own.unavailable())
    with pytest.raises(FileNotFoundError, match=reason):
        own.samples()


def orphans(folder: Path) -> None:
    (folder / "masks" / "ill").rename(folder / "masks" / "sick")


def twins(folder: Path) -> None:
    picture(folder / "images" / "ill" / "b.bmp")


def empty(folder: Path) -> None:
    (folder / "images" / "new").mkdir()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (orphans, "masks: no mask has the path of an image; that of .*1.png is healthy/1.png there"),
        (twins, "images: ill/b.bmp and ill/b.png differ in their endings only"),
        (empty, "new: holds no picture"),
    ],
)
def test_folders_that_are_no_good_are_one_line(folder: Path, spoil: Callable[[Path], None], message: str):
    spoil(folder)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as error:
        task(folder, masks=folder / "masks").samples()
    assert "\n" not in str(error.value)


def test_a_mask_of_another_proportion_is_named(folder: Path):
    mask(folder / "masks" / "ill" / "b.gif", (90, 20))
    with pytest.raises(ValueError, match=r"b.gif: is 90 x 20, and its image 30 x 20"):
        task(folder, masks=folder / "masks").samples()[1]


class Answering(nn.Module):
    """Whatever it is told."""

    def __init__(self, answer: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, inputs: Tensor) -> object:
        return self.answer(inputs.flatten(1)[:, :2])


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda x: x[:, :1], r"Answering: answers 1 logits, and .* has 2 folders of classes \(healthy, ill\)"),
        (lambda x: (x, x), r"answers a tuple to 3 images, not \(N, K\) logits"),
        (lambda x: x[..., None], r"answers \(3, 2, 1\) to 3 images"),
        (lambda x: x.softmax(1), "answers probabilities, and logits are explained"),
        (lambda x: x / 0, "logits are not finite"),
        (lambda x: x + torch.rand(1), "depends on the other images, or on chance"),
        (lambda x: x - x.mean(0), "depends on the other images, or on chance"),
        (lambda x: x @ x[:, :1], r"cannot take \(3, 3, 24, 24\) float32 images \(.*mat1 and mat2"),
    ],
)
def test_networks_that_break_the_contract_are_one_line(folder: Path, answer: Callable[[Tensor], object], message: str):
    own = task(folder, network=lambda: Answering(answer), mean=None)
    with pytest.raises(ValueError, match=message) as error:
        own.model()
    assert "\n" not in str(error.value)


def static(net: nn.Module, path: Path) -> None:
    torch.export.save(torch.export.export(net, (torch.rand(2, 3, SIDE, SIDE),)), path)


def training(_: nn.Module, path: Path) -> None:
    n = torch.export.Dim("n", min=1, max=1024)
    example = (torch.rand(2, 3, SIDE, SIDE),)
    torch.export.save(torch.export.export(Net(training=True), example, dynamic_shapes=({0: n},)), path)


def junk(_: nn.Module, path: Path) -> None:
    path.write_bytes(b"junk")


def state_dict(net: nn.Module, path: Path) -> None:
    torch.save(net.state_dict(), path)


def pickled(net: nn.Module, path: Path) -> None:
    torch.save(net, path)


def other(_: nn.Module, path: Path) -> None:
    torch.save(Net(3).state_dict(), path)


def scripted(net: nn.Module, path: Path) -> None:
    saved(net, ".pt", path.parent)


@pytest.mark.parametrize(
    ("write", "name", "network", "message"),
    [
        (static, "net.pt2", None, "Give torch.export `dynamic_shapes`"),
        (training, "net.pt2", None, "put it into eval mode before it is saved"),
        (junk, "net.pt2", None, "not readable as a network"),
        (scripted, "net.pt", Net, "not readable as weights .*TorchScript"),
        (state_dict, "net.pt2", None, "write it with torch.export.save"),
        (state_dict, "net.pt2", Net, "is a whole network; leave `network` out"),
        (junk, "net.pt", None, "not readable as TorchScript"),
        (state_dict, "net.pt", None, "say with `network` what makes the network"),
        (pickled, "net.pth", Net, "not readable as weights"),
        (other, "net.pth", Net, r"the shape of linear.weight is \(3, 144\), not \(2, 144\)"),
        (junk, "net.safetensors", Net, "not readable as weights"),
        (junk, "net.pth", dict, "`network` makes a dict, not an nn.Module"),
    ],
)
def test_files_that_are_no_good_are_one_line(
    folder: Path,
    net: nn.Module,
    write: Callable[[nn.Module, Path], None],
    name: str,
    network: Callable[[], nn.Module] | None,
    message: str,
    capfd: pytest.CaptureFixture[str],
):
    write(net, folder / name)
    capfd.readouterr()
    with pytest.raises(ValueError, match=message) as error:
        task(folder, weights=folder / name, network=network, mean=None).model()
    assert "\n" not in str(error.value)
    assert capfd.readouterr().err == ""


def test_a_task_without_a_network_or_with_paths_as_text_cannot_be_written():
    with pytest.raises(ValueError, match="a network is needed; give `network`, `weights`, or both"):
        FolderTask(images=Path("images"))
    with pytest.raises(TypeError, match=r"`images` is a pathlib.Path, not the str 'images'"):
        FolderTask(images="images", network=Net)  # type: ignore[arg-type]
