"""What a run says of its metrics and methods in ``metrics.json``: directions, and who needs gradients."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from dax_lightning.files import read_json

ENOUGH = 0.9  # a method with fewer values than this share of the most can't be best: the cases it failed on would flatter it


@dataclass(frozen=True)
class Known:
    """Directions of metrics and needs of methods, as far as they are known.

    Args:
        higher_is_better: metric → its direction; a metric without one is not in it.
        needs_gradients: names of the explainers that do.
        doubt: why a file could not be read, if so.
    """

    higher_is_better: dict[str, bool] = field(default_factory=dict)
    needs_gradients: frozenset[str] = frozenset()
    doubt: str = ""

    def main(self, metrics: list[str]) -> list[str]:
        """Order the metrics that have a direction, IoU first; IoU alone where no direction is known.

        Example:
            >>> Known({"deletion": False, "iou": True}).main(["deletion", "sparseness", "iou"])
            ['iou', 'deletion']
        """
        directed = [metric for metric in metrics if metric in self.higher_is_better or metric == "iou"]
        return sorted(directed, key=lambda metric: metric != "iou")

    def up(self, metric: str) -> bool:
        """Whether more is better; where nothing is known, as for IoU of an old run, it is taken to be.

        Example:
            >>> Known({"deletion": False}).up("deletion")
            False
        """
        return self.higher_is_better.get(metric, True)

    @property
    def lower(self) -> list[str]:
        """The metrics of which less is better.

        Example:
            >>> Known({"deletion": False, "iou": True}).lower
            ['deletion']
        """
        return [metric for metric, higher in self.higher_is_better.items() if not higher]

    def best(self, groups: pd.DataFrame, metric: str) -> list[Any]:
        """Index of the best of :func:`dax_lightning.stats.tables.summarise`'s lines, ties included; none without a direction.

        Example:
            >>> Known({"iou": True}).best(pd.DataFrame({"iou": [0.2, 0.4], "iou_n": [9, 9]}), "iou")
            [1]
        """
        able = groups.loc[(groups[f"{metric}_n"] >= ENOUGH * groups[f"{metric}_n"].max()) & groups[metric].notna()]
        if metric not in self.higher_is_better or len(able) < 2:
            return []
        top = able[metric].max() if self.up(metric) else able[metric].min()
        return able.index[able[metric] == top].tolist()


def read_known(folders: Iterable[Path]) -> Known:
    """Read ``metrics.json`` of a run, or of all jobs of a sweep; a folder without one says nothing.

    Example:
        >>> read_known([Path("no such folder")])
        Known(higher_is_better={}, needs_gradients=frozenset(), doubt='')
    """
    higher, gradients, doubt = {}, set(), ""
    for file in (Path(folder, "metrics.json") for folder in folders):
        try:
            said = dict(read_json(file)) if file.is_file() else {}
            gradients |= {name for name, facts in said.pop("explainers", {}).items() if facts["needs_gradients"]}
            higher |= {name: bool(f["higher_is_better"]) for name, f in said.items() if f["higher_is_better"] is not None}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            doubt = f"{file.name} can’t be read ({error}), so nothing is known of the metrics’ directions"
    return Known(higher, frozenset(gradients), doubt)
