"""Correlations of what an explanation says and of what the model does, sample by sample."""

import torch
from torch import Tensor


def pearson(first: Tensor, second: Tensor) -> Tensor:
    """(N,) float64 correlation of (N, M) and (N, M) values; nan: one of the two is constant."""
    centred = [values.double() - values.double().mean(dim=1, keepdim=True) for values in (first, second)]
    covariance = (centred[0] * centred[1]).sum(dim=1)
    scale = (centred[0].square().sum(dim=1) * centred[1].square().sum(dim=1)).sqrt()
    varies = (first != first[:, :1]).any(dim=1) & (second != second[:, :1]).any(dim=1)
    return (covariance / scale).clamp(-1, 1).where(varies, torch.nan)


def spearman(first: Tensor, second: Tensor) -> Tensor:
    """(N,) float64 rank correlation of (N, M) and (N, M) values, ties with their average rank; nan: constant."""
    return pearson(_average_ranks(first), _average_ranks(second))


def _average_ranks(values: Tensor) -> Tensor:
    values = values.contiguous()
    ascending = values.sort(dim=1).values
    smaller = torch.searchsorted(ascending, values, right=False)
    not_greater = torch.searchsorted(ascending, values, right=True)
    return (smaller + not_greater).double() / 2
