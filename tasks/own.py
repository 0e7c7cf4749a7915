"""A task on one's own data: a folder of images, masks beside it if there are any, and any network.

images/healthy/1.png     a folder a class, as torchvision's ImageFolder has it; deeper folders may follow
images/ill/2.jpg
masks/ill/2.png          the same path, of any picture ending; above half where the evidence lies
second/ill/2.png         the same of a second reader, if there is one
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import torch
from torch import Tensor, nn

from .base import Card, Sample, Samples, Task, balanced_order
from .files.images import check_same_shape, read_image, read_mask
from .networks.architectures import IMAGENET_DEVIATION, IMAGENET_MEAN, with_preprocessing
from .networks.foreign import foreign_network, ready

_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")


@dataclass(frozen=True)
class FolderTask(Task):
    """Images in one folder a class, and any network.

    The folders' names, sorted, are the classes in the order of the logits. Hidden files and folders, and what has
    no picture's ending, are passed over. Where there are masks, an image without a mask file counts as one without
    evidence: its mask is empty, and metrics of localization are not defined for it.

    Where the files lie is not part of the `repr`, which would make records stale: what they hold is fingerprinted.
    """

    images: Path = field(repr=False)
    """The folder of the classes' folders."""
    masks: Path | None = field(default=None, repr=False)
    """The folder of the masks; None: there are none."""
    second: Path | None = field(default=None, repr=False, kw_only=True)
    """The folder of a second reader's masks; an image without a file there was not read again. None: there are none."""
    network: Callable[[], nn.Module] | None = field(default=None, repr=False)
    """Makes the network; None: the file of weights is TorchScript (.pt) or torch.export's (.pt2)."""
    weights: Path | None = field(default=None, repr=False)
    """A state dict (.safetensors, .pth), TorchScript or torch.export; None: what `network` makes has its weights."""
    size: int = 224
    """Side to which the images are stretched, in pixels."""
    mean: tuple[float, ...] | None = IMAGENET_MEAN
    """Of the normalization before the network, one a channel; None: the network takes images in [0, 1]."""
    deviation: tuple[float, ...] = IMAGENET_DEVIATION
    nothing_found: str | None = None
    """The class that means «nothing found»."""

    def __post_init__(self) -> None:
        if self.network is None and self.weights is None:
            raise ValueError("FolderTask: a network is needed; give `network`, `weights`, or both")
        paths = {"images": self.images, "masks": self.masks, "second": self.second, "weights": self.weights}
        for name, path in paths.items():
            if not isinstance(path, Path | None):
                raise TypeError(f"FolderTask: `{name}` is a pathlib.Path, not the {type(path).__name__} {path!r}")
        if self.second is not None and self.masks is None:
            raise ValueError("FolderTask: `second` is compared with the masks of a first reader; give `masks`, too")

    def classes(self) -> tuple[str, ...]:
        """The names of the classes' folders, sorted; none where there is no folder of images."""
        if not self.images.is_dir():
            return ()
        found = (path.name for path in self.images.iterdir() if path.is_dir())
        return tuple(sorted(name for name in found if not name.startswith(".")))

    def negative(self) -> str | None:
        return self.nothing_found

    def card(self) -> Card:
        network = self.weights.name if self.weights else "one's own"
        masks = "masks beside the images" if self.masks else "none"
        return Card(self.images.name, network, masks, licence="one's own", citation="one's own data")

    def unavailable(self) -> str | None:
        for path in (self.images, self.masks, self.second):
            if path is not None and not path.is_dir():
                return f"no folder {path}: put the data there, or name another in the task's file"
        if not self.classes():
            return f"no folder of a class in {self.images}: put the images into a folder a class"
        if self.nothing_found is not None and self.nothing_found not in self.classes():
            return f"nothing_found={self.nothing_found!r} is none of the classes {', '.join(self.classes())}"
        if self.weights is not None and not self.weights.is_file():
            return f"no file of weights {self.weights}: put it there, or name another in the task's file"
        return None

    def model(self) -> nn.Module:
        """The network behind its normalization: see `Task.model`.

        Raises:
            FileNotFoundError, ValueError: its file is no good, or it does not keep the contract; one line.
        """
        network = foreign_network(self.network, self.weights)
        name = str(self.weights or type(network).__name__)
        if self.mean is not None:
            network = with_preprocessing(network, self.mean, self.deviation)
        model, n_classes = ready(network, (self.size, self.size), name)
        if n_classes != len(self.classes()):
            raise ValueError(
                f"{name}: answers {n_classes} logits, and {self.images} has {len(self.classes())} folders "
                f"of classes ({', '.join(self.classes())}); there must be one a logit"
            )
        return model

    def samples(self) -> Samples:
        """The images in an order whose every prefix is balanced over the classes.

        Raises:
            FileNotFoundError: there is no data, or a class has no picture.
            ValueError: no mask has the path of an image, or two files have one; one line.
        """
        if reason := self.unavailable():
            raise FileNotFoundError(reason)
        classes = self.classes()
        files = [(path, label) for label, name in enumerate(classes) for path in self._of_class(name)]
        files = [files[index] for index in balanced_order([label for _, label in files])]
        paths = [path for path, _ in files]
        masks, second = (None if of is None else _masks(self.images, of, paths) for of in (self.masks, self.second))
        return _Files(self.images, files, masks, second or {}, self.size)

    def _of_class(self, name: str) -> Sequence[str]:
        found = _pictures(self.images, name)
        if not found:
            raise FileNotFoundError(f"{self.images / name}: holds no picture; put some there, or take the folder away")
        return found


@dataclass(frozen=True)
class _Files:
    """Images read when they are asked for."""

    folder: Path
    files: Sequence[tuple[str, int]]
    """Path in the folder, index into the classes."""
    masks: Mapping[str, Path] | None
    """Path of an image -> its mask; an image that is not there has an empty one. None: no masks are known."""
    second: Mapping[str, Path]
    """Path of an image -> its mask by a second reader."""
    size: int

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Sample:
        path, label = self.files[index]
        image = read_image(self.folder / path, self.size)
        second = self._read(path, self.second[path]) if path in self.second else None
        return Sample(image, torch.tensor(label), id=path, mask=self._mask(path), second=second)

    def _mask(self, path: str) -> Tensor | None:
        if self.masks is None:
            return None
        if path not in self.masks:
            return torch.zeros((1, self.size, self.size), dtype=torch.bool)
        return self._read(path, self.masks[path])

    def _read(self, path: str, mask: Path) -> Tensor:
        check_same_shape(self.folder / path, mask)
        return read_mask(mask, self.size)


def _pictures(folder: Path, below: str = "") -> list[str]:
    """The pictures in a folder and the folders in it, as paths from the folder on, sorted."""
    found = (path.relative_to(folder) for path in (folder / below).rglob("*") if path.suffix.lower() in _ENDINGS)
    return sorted(path.as_posix() for path in found if not any(part.startswith(".") for part in path.parts))


def _masks(images: Path, masks: Path, paths: Sequence[str]) -> dict[str, Path]:
    """Path of an image -> its mask, for those that have one."""
    by_stem = _by_stem(masks, _pictures(masks))
    found = {path: masks / by_stem[stem] for stem, path in _by_stem(images, paths).items() if stem in by_stem}
    if not found:
        raise ValueError(f"{masks}: no mask has the path of an image; that of {images / paths[0]} is {paths[0]} there")
    return found


def _by_stem(folder: Path, paths: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for path in paths:
        first = found.setdefault(PurePosixPath(path).with_suffix("").as_posix(), path)
        if first != path:
            raise ValueError(f"{folder}: {first} and {path} differ in their endings only: which is the mask's?")
    return found
