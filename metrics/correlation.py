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
    ascending, order = values.sort(dim=1)
    places = torch.arange(values.shape[1], device=values.device).expand_as(order)
    border = torch.ones_like(ascending[:, :1], dtype=torch.bool)
    changes = ascending[:, 1:] != ascending[:, :-1]
    begins, ends = torch.cat([border, changes], dim=1), torch.cat([changes, border], dim=1)
    first = places.where(begins, 0).cummax(dim=1).values
    last = places.where(ends, values.shape[1]).flip(1).cummin(dim=1).values.flip(1)
    ranks = (first + last + 1).double() / 2
    return torch.empty_like(ranks).scatter_(1, order, ranks)
