"""Table rows: one number for each feature."""

import csv
import math
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from dax_lightning.errors import InputError
from dax_lightning.inputs.base import Input
from dax_lightning.inputs.lines import picture_of


@dataclass(frozen=True)
class TableInput(Input):
    """One row of a table, (1, features). ``low`` and ``high`` are the smallest and largest over all features.

    Args:
        names: of the features, in the model's order.
        lows: smallest value of each feature; ``None``: no bound.
        highs: largest value of each feature; ``None``: no bound.
        typical: what a feature that is taken away shows, such as its mean; ``None``: 0, or the bound nearest to it.

    Raises:
        InputError: no feature, a name twice, or bounds that aren't one a feature and in order.

    Example:
        >>> row = TableInput(("age", "income"), lows=(0, 0), highs=(120, 1e6))
        >>> row.check(torch.tensor([[40.0, 30000.0]]))
        >>> row.shape, row.high
        ((1, 2), 1000000.0)
    """

    kind: ClassVar[str] = "table"
    has_space: ClassVar[bool] = False
    names: tuple[str, ...]
    lows: tuple[int | float, ...] | None = None
    highs: tuple[int | float, ...] | None = None
    typical: tuple[int | float, ...] | None = None

    def __post_init__(self) -> None:
        if not self.names or len(set(self.names)) != len(self.names):
            raise InputError(f"names={list(self.names)}: wanted one or more features, each name once")
        for name, bounds in (("lows", self.lows), ("highs", self.highs), ("typical", self.typical)):
            if bounds is not None and (len(bounds) != len(self.names) or any(math.isnan(bound) for bound in bounds)):
                raise InputError(f"{name}={list(bounds)}: wanted one number for each of {len(self.names)} features")
        if any(low > high for low, high in zip(*self._bounds(), strict=True)):
            raise InputError("lows and highs: a feature's smallest value lies above its largest: swap the two")
        lows, highs = self._bounds()
        object.__setattr__(self, "low", float(min(lows)))
        object.__setattr__(self, "high", float(max(highs)))

    @staticmethod
    def of(data: Float[Tensor, "n j"], names: tuple[str, ...] | None = None) -> "TableInput":
        """The input whose range and means are those of the data; without names the features are ``x0``, ``x1``, ...

        Example:
            >>> TableInput.of(torch.tensor([[1.0, 5.0], [2.0, 4.0]])).lows
            (1.0, 4.0)
        """
        if not len(data):
            raise InputError("data of 0 rows: wanted at least one, to know each feature's range")
        names = names or tuple(f"x{feature}" for feature in range(data.shape[1]))
        return TableInput(names, tuple(data.amin(0).tolist()), tuple(data.amax(0).tolist()), tuple(data.mean(0).tolist()))

    @property
    def shape(self) -> tuple[int | None, ...]:
        """(1, features)."""
        return (1, len(self.names))

    def neutral(self, x: Float[Tensor, "1 j"]) -> Float[Tensor, "1 j"]:
        """What is typical of each feature."""
        if self.typical is not None:
            return torch.tensor([self.typical], dtype=x.dtype)
        lows, highs = (torch.tensor(bounds, dtype=x.dtype) for bounds in self._bounds())
        return torch.zeros_like(x).clamp(lows, highs)

    def unit(self, x: Float[Tensor, "1 j"]) -> Float[Tensor, "1 j"]:
        """Each feature's own range scaled to [0, 1]; by a sigmoid where it has no bound."""
        lows, highs = (torch.tensor(bounds, dtype=x.dtype) for bounds in self._bounds())
        bounded = torch.isfinite(highs - lows) & (highs > lows)
        return torch.where(bounded, (x - lows) / torch.where(bounded, highs - lows, 1.0), x.sigmoid())

    @property
    def suffixes(self) -> tuple[str, ...]:
        """See :class:`Input`."""
        return (".csv",)

    def read(self, path: Path) -> Float[Tensor, "1 j"]:
        """A ``.csv`` file of a header and one row; columns that are no feature are left out."""
        path = path.expanduser()
        try:
            with path.open(newline="", encoding="utf-8-sig") as file:
                rows = list(csv.DictReader(file))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise InputError(f"input {path} can't be read as a table ({error}): wanted a .csv file in UTF-8") from error
        if len(rows) != 1:
            raise InputError(f"input {path} holds {len(rows)} rows below its header, wanted one: give a file for each row")
        if None in rows[0]:
            raise InputError(f"input {path} has more cells in its row than in its header: write a name for each")
        x = torch.tensor([[self._number(rows[0], name, path) for name in self.names]])
        self.check(x)
        return x

    def places(self, x: Float[Tensor, "1 j"]) -> tuple[str, ...]:
        """The features' names."""
        return self.names

    def show(self, x: Float[Tensor, "1 j"]) -> Image.Image:
        """One line a feature: ``name = value``."""
        return picture_of([f"{name} = {value:.6g}" for name, value in zip(self.names, x[0].tolist(), strict=True)])

    def check(self, x: Float[Tensor, "c *space"]) -> None:
        """As for every input; and each feature lies in its own range."""
        super().check(x)
        lows, highs = (torch.tensor(bounds, dtype=x.dtype) for bounds in self._bounds())
        for feature in ((x[0] < lows) | (x[0] > highs)).nonzero().flatten().tolist():
            low, high = lows[feature].item(), highs[feature].item()
            raise InputError(
                f"feature {self.names[feature]} is {x[0, feature].item():.6g}, wanted [{low:g}, {high:g}]: "
                "mend the row or widen the range"
            )

    def _bounds(self) -> tuple[tuple[int | float, ...], tuple[int | float, ...]]:
        lows = (-math.inf,) * len(self.names) if self.lows is None else self.lows
        return lows, (math.inf,) * len(self.names) if self.highs is None else self.highs

    @staticmethod
    def _number(row: dict[str, str | None], name: str, path: Path) -> float:
        if name not in row:
            raise InputError(f"input {path} lacks the column {name}: wanted a header with every feature's name")
        try:
            return float(row[name] or "")
        except (TypeError, ValueError) as error:
            raise InputError(f"input {path} has {row[name]!r} in column {name}, wanted a number") from error
