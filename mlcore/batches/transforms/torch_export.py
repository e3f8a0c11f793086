"""Transforms as a PyTorch module."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from mlcore.batches.transforms.numpy_backend import Group, Operation


class Affine(torch.nn.Module):
    """``(x - shift) / scale``."""

    shift: torch.Tensor
    scale: torch.Tensor

    def __init__(self, operation: Operation) -> None:
        super().__init__()
        _hold(self, shift=operation.constants[0], scale=operation.constants[1])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x - self.shift) / self.scale


class Log(torch.nn.Module):
    """``log1p(x + shift)``."""

    shift: torch.Tensor

    def __init__(self, operation: Operation) -> None:
        super().__init__()
        _hold(self, shift=operation.constants[0])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.log1p(x + self.shift)


class Clip(torch.nn.Module):
    """Values held between two limits; NaN stays."""

    low: torch.Tensor
    high: torch.Tensor

    def __init__(self, operation: Operation) -> None:
        super().__init__()
        _hold(self, low=operation.constants[0], high=operation.constants[1])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.minimum(torch.maximum(x, self.low), self.high)


class Impute(torch.nn.Module):
    """Something in place of NaN."""

    value: torch.Tensor

    def __init__(self, operation: Operation) -> None:
        super().__init__()
        _hold(self, value=operation.constants[0])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.where(torch.isnan(x), self.value, x)


class Curve(torch.nn.Module):
    """Straight lines between knots, flat outside of them."""

    knots: torch.Tensor
    inner: torch.Tensor
    heights: torch.Tensor
    slopes: torch.Tensor

    def __init__(self, operation: Operation) -> None:
        super().__init__()
        knots, heights = operation.constants
        _hold(self, knots=knots, inner=operation.inner(), heights=heights, slopes=operation.slopes())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        held = torch.minimum(torch.maximum(x, self.knots[:, 0]), self.knots[:, -1]).T.contiguous()
        piece = torch.searchsorted(self.inner, held, right=True)
        away = held - torch.gather(self.knots, 1, piece)
        return (torch.gather(self.heights, 1, piece) + away * torch.gather(self.slopes, 1, piece)).T


class OneHot(torch.nn.Module):
    """A column for each category."""

    categories: torch.Tensor

    def __init__(self, operation: Operation) -> None:
        super().__init__()
        _hold(self, categories=operation.constants[0])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x == self.categories).to(x.dtype)


class Transforms(torch.nn.Module):
    """All features: (batch, n_columns) in any precision to float32, (batch, n_names), in double precision between."""

    def __init__(self, groups: Sequence[Group]) -> None:
        super().__init__()
        self.bounds = [(group.first, group.last) for group in groups]
        self.groups = torch.nn.ModuleList(
            torch.nn.Sequential(*(_MODULES[operation.name](operation) for operation in group.operations)) for group in groups
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        wide = x.double()
        parts = [group(wide[:, first:last]) for group, (first, last) in zip(self.groups, self.bounds, strict=True)]
        return torch.cat(parts, dim=1).float()


_MODULES: dict[str, type[Affine | Log | Clip | Impute | Curve | OneHot]] = {
    "affine": Affine,
    "log": Log,
    "clip": Clip,
    "impute": Impute,
    "curve": Curve,
    "onehot": OneHot,
}


def module(groups: Sequence[Group]) -> torch.nn.Module:
    """The module of some groups."""
    return Transforms(groups)


def _hold(owner: torch.nn.Module, **arrays: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> None:
    """Keep arrays as buffers, which move and are saved with a module."""
    for name, array in arrays.items():
        owner.register_buffer(name, torch.from_numpy(np.ascontiguousarray(array, np.float64).copy()))
