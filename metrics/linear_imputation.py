"""Noisy linear imputation: a removed pixel becomes the weighted mean of its eight neighbours, removed ones too.

The equations of all removed pixels i are solved together: Σ_j w_ij (u_i − u_j) = 0 over the neighbours j inside the
image, w = 1/6 for the four direct and 1/12 for the four diagonal ones; what is not removed keeps its value. Then
Gaussian noise is added to the removed pixels. Where all pixels are removed the equations leave the colour open: it
becomes the image's mean colour.

Reference: Rong, Leemann, Borisov, Kasneci, Kasneci, "A Consistent and Efficient Evaluation Strategy for Attribution
Methods", ICML 2022. The equations are those of Quantus's `noisy_linear_imputation`.
"""

from abc import abstractmethod
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.linalg import splu
from torch import Tensor
from torch.nn import functional

from .base import Decisions
from .perturb import Imputer


@dataclass(frozen=True)
class LinearImputer(Imputer):
    """Solves the equations and adds noise; images are held within [0, 1].

    Args:
        noise: Standard deviation of the noise, for images in [0, 1] (Rong et al. and Quantus: 0.01 of whatever range
            the images have). A sample's noise is the same for all explainers and all removed pixels.
    """

    noise: float = 0.01

    @abstractmethod
    def impute(self, inputs: Tensor, removed: Tensor) -> Tensor:
        """(N, C, H, W) images whose (N, 1, H, W) bool pixels are replaced by the solution, without noise."""

    def without(self, decisions: Decisions, removed: Tensor) -> Tensor:
        noise = decisions.shared(("imputation noise", self.noise), lambda: self._noise(decisions))
        imputed = self.impute(decisions.inputs, removed)
        return torch.where(removed, (imputed + noise).clamp(0, 1), imputed)

    def _noise(self, decisions: Decisions) -> Tensor:
        shape = decisions.inputs.shape[1:]
        drawn = [torch.randn(shape, generator=generator) for generator in decisions.generators("imputation noise")]
        return self.noise * torch.stack(drawn).to(decisions.inputs)


@dataclass(frozen=True)
class ExactLinearImputer(LinearImputer):
    """The equations are solved by a sparse factorization in float64 on the CPU, image after image."""

    def impute(self, inputs: Tensor, removed: Tensor) -> Tensor:
        images, places = inputs.cpu().double().numpy(), removed[:, 0].cpu().numpy()
        solved = [_solved(image, place) for image, place in zip(images, places, strict=True)]
        return torch.from_numpy(np.stack(solved)).to(inputs)


@dataclass(frozen=True)
class IterativeLinearImputer(LinearImputer):
    """The equations of the whole batch are solved by conjugate gradients on the images' device, in their precision.

    They start from the image's mean colour and are preconditioned by one multigrid cycle, so that a few iterations do
    for scattered pixels and large areas alike. Each channel of each image stops for itself.

    Args:
        tolerance: A channel is done when the norm of the equations' residual is this fraction of that of their
            right-hand side, or of the residual at the start if that is larger.
        n_iterations: It is done after so many in any case.
    """

    tolerance: float = 1e-3
    n_iterations: int = 100

    def impute(self, inputs: Tensor, removed: Tensor) -> Tensor:
        unknown = removed.to(inputs.dtype)
        grids = _grids(unknown)
        mean = inputs.mean(dim=(2, 3), keepdim=True)
        start = torch.where(removed, mean, inputs)
        right = unknown * _smoothed(inputs * (1 - unknown))
        open_colour = removed.flatten(1).all(dim=1)[:, None, None, None]
        found = self._conjugate_gradients(grids, right, start * unknown, ~open_colour)
        return torch.where(removed & ~open_colour, found, start)

    def _conjugate_gradients(self, grids: "list[_Grid]", right: Tensor, found: Tensor, wanted: Tensor) -> Tensor:
        """(N, C, H, W) solution, from a start that is 0 where nothing is removed."""
        residual = right - grids[0].applied(found)
        # Where all is black around the removed pixels, the right-hand side is 0 and sets no scale.
        limit = self.tolerance**2 * torch.maximum(_dot(right, right), _dot(residual, residual))
        direction = torch.zeros_like(found)
        before = torch.ones_like(limit)
        for _ in range(self.n_iterations):
            going = wanted & (_dot(residual, residual) > limit)
            if not bool(going.any()):
                break
            preconditioned = _cycle(grids, residual)
            now = _dot(residual, preconditioned)
            direction = preconditioned + torch.where(going, now / before, 0.0) * direction
            moved = grids[0].applied(direction)
            step = torch.where(going, now / _dot(direction, moved), 0.0)
            found = found + step * direction
            residual = residual - step * moved
            before = now
        return found


class _Grid:
    """The equations at one resolution, times 12.

    Args:
        unknown: (N, 1, H, W), 1 where a pixel is removed, else 0.
    """

    DAMPING = 0.8

    def __init__(self, unknown: Tensor) -> None:
        sums = _smoothed(torch.ones_like(unknown))
        self.unknown = unknown
        self._diagonal = unknown * sums
        self._relaxation = self.DAMPING * unknown / (sums - 4)

    def applied(self, values: Tensor) -> Tensor:
        """Left-hand side of the equations; the values are 0 where nothing is removed."""
        return torch.addcmul(self._diagonal * values, self.unknown, _smoothed(values), value=-1)

    def relaxed(self, values: Tensor) -> Tensor:
        """A damped step of Jacobi's iteration from 0."""
        return self._relaxation * values


def _grids(unknown: Tensor) -> list[_Grid]:
    """From fine to coarse, as long as there is something to solve: four unknown pixels make an unknown one."""
    grids = [_Grid(unknown)]
    while min(unknown.shape[2:]) > 4:
        unknown = (functional.avg_pool2d(unknown, 2, ceil_mode=True) == 1).to(unknown)
        if not bool(unknown.any()):
            break
        grids.append(_Grid(unknown))
    return grids


def _cycle(grids: list[_Grid], residual: Tensor) -> Tensor:
    """One symmetric multigrid cycle: relaxed, corrected on the next coarser grid, relaxed again."""
    fine, *coarser = grids
    correction = fine.relaxed(residual)
    if coarser:
        height, width = residual.shape[2:]
        remaining = functional.pad(residual - fine.applied(correction), (0, width % 2, 0, height % 2))
        coarse = _cycle(coarser, coarser[0].unknown * functional.avg_pool2d(remaining, 2) * 4)
        correction = correction + fine.unknown * functional.interpolate(coarse, scale_factor=2)[..., :height, :width]
    return correction + fine.relaxed(residual - fine.applied(correction))


def _smoothed(values: Tensor) -> Tensor:
    """(N, C, H, W) sums over 3 × 3 pixels inside the image: 2 times the direct, once the diagonal, 4 times the own."""
    # (1 2 1) down the columns, then along the rows: much faster than a convolution.
    columns = 2 * values
    columns[..., 1:, :] += values[..., :-1, :]
    columns[..., :-1, :] += values[..., 1:, :]
    sums = 2 * columns
    sums[..., 1:] += columns[..., :-1]
    sums[..., :-1] += columns[..., 1:]
    return sums


def _dot(first: Tensor, second: Tensor) -> Tensor:
    """(N, C, 1, 1) inner products."""
    return torch.einsum("nchw,nchw->nc", first, second)[:, :, None, None]


def _solved(image: np.ndarray, removed: np.ndarray) -> np.ndarray:
    """(C, H, W) image whose (H, W) removed pixels solve the equations."""
    values, places = image.reshape(len(image), -1), np.flatnonzero(removed)
    if len(places) == removed.size:
        return np.broadcast_to(image.mean(axis=(1, 2), keepdims=True), image.shape)
    solution = values.copy()
    if len(places):
        equations = _equations(*removed.shape)[places]
        right = -(equations @ np.where(removed.ravel(), 0, values).T)
        # The matrix is symmetric and positive: no pivoting, and an ordering that keeps it so.
        factors = splu(
            equations[:, places].tocsc(),
            permc_spec="MMD_AT_PLUS_A",
            diag_pivot_thresh=0.0,
            options={"SymmetricMode": True},
        )
        solution[:, places] = factors.solve(right).T
    return solution.reshape(image.shape)


@cache
def _equations(height: int, width: int) -> Any:
    """(H·W, H·W) sparse matrix of the equations of all pixels: Σ_j w_ij on the diagonal, −w_ij beside it."""

    def along(side: int) -> Any:
        return sparse.diags_array([1.0, 2.0, 1.0], offsets=[-1, 0, 1], shape=(side, side))

    block = sparse.csr_array(sparse.kron(along(height), along(width)) / 12)
    block.setdiag(0)
    block.eliminate_zeros()
    return sparse.csr_array(sparse.diags_array(block.sum(axis=1)) - block)
