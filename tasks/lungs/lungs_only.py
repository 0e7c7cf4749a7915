"""Chest X-rays of which only the lungs are left: everything outside is black before a classifier sees the image.

This changes the data and not the model, so what an explainer explains is the classifier alone. The lungs are, image
by image, those that the user has drawn, where they lie beside the images, and else those that the shipped network
finds (`tasks/lungs.py`). They are no ground truth of a finding, so they are not the samples' masks.

The user's masks lie in a folder `lung masks` in the data set's folder, each as its image lies below the folder of the
parts, with the ending .png: the mask of chest_xray/train/NORMAL/IM-0115-0001.jpeg is

    chest-xray-pneumonia/lung masks/train/NORMAL/IM-0115-0001.png

It is white where the lungs are, black elsewhere, of any size that has the proportions of its image.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from torch import Tensor, nn

from ..base import Sample, Samples
from ..files.images import check_same_shape, read_mask
from ..phantoms.chest_xray import Pneumonia
from ..published import unnested
from .segmentation import find_lungs

FOLDER = "lung masks"
"""Of the user's masks, in the data set's folder."""


def mask_path(image: str) -> PurePosixPath:
    """Where the user's mask of an image lies; both relative to the data set's folder.

    >>> mask_path("chest_xray/train/NORMAL/IM-0115-0001.jpeg").as_posix()
    'lung masks/train/NORMAL/IM-0115-0001.png'
    """
    below = PurePosixPath(*PurePosixPath(image).parts[1:])
    return FOLDER / below.with_suffix(".png")


@dataclass(frozen=True)
class LungsOnly:
    """The samples, black outside the lungs.

    Where the network finds no lung, the image stays whole, and a warning names it.
    """

    samples: Samples
    """Of a published data set: their names are the images' paths, relative to its folder."""
    folder: Path
    """The data set's."""
    network: nn.Module
    """Finds the lungs that the user has not drawn; see `find_lungs`."""

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        """The sample. One by one, because in batches the same image could come out otherwise by a pixel.

        Raises:
            ValueError, OSError: the image or the user's mask cannot be read, or does not fit; one line.
        """
        sample = self.samples[index]
        return sample._replace(input=sample.input * self.lungs(sample))

    def lungs(self, sample: Sample) -> Tensor:
        """Where its lungs lie: (1, H, W) bool."""
        drawn = self.folder / mask_path(sample.id)
        if drawn.exists():
            return self._drawn(drawn, sample)
        masks, found = find_lungs(self.network, sample.input[None])
        if not found:
            warnings.warn(f"{sample.id}: no lung was found, so the whole image is kept", stacklevel=3)
        return masks[0]

    def _drawn(self, path: Path, sample: Sample) -> Tensor:
        image = PurePosixPath(sample.id)
        check_same_shape(unnested(self.folder, image.parent.as_posix()) / image.name, path)
        mask = read_mask(path, sample.input.shape[-1])
        if not mask.any():
            raise ValueError(f"{path}: marks no lung; remove it, and the lungs are found by the network")
        return mask


class LungsOnlyPneumonia(Pneumonia):
    """Rendered radiographs of children, black outside the lungs, whose place is known exactly.

    With evidence and without, the lungs are the same: what changes is in them. Where the surroundings are another
    sample's, so are the lungs.
    """

    def sample(
        self, index: int, evidence: bool = True, shortcut: bool = True, surroundings: int | None = None
    ) -> Sample:
        whole = super().sample(index, evidence, shortcut, surroundings)
        lungs = self.lungs(index if surroundings is None else surroundings)
        return whole._replace(
            input=whole.input * lungs,
            mask=None if whole.mask is None else whole.mask & lungs,
            shortcut=None if whole.shortcut is None else whole.shortcut & lungs,
        )

    def whole(self) -> Pneumonia:
        """The same radiographs, as they were before all but the lungs was blackened."""
        return Pneumonia(self.n_samples, self.seed, self.size, self.agreement, self.strength)
