"""A comparison falls into parts: one task, one black box, one setting; within a part, methods are compared."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from dax_lightning.report.known import Known

WRONG, RIGHT = "only=wrong", "only=correct"
_VARIED = ("loss", "segmenter", "q")


@dataclass(frozen=True)
class Part:
    """The rows of one task and black box in one setting.

    Args:
        box: the black box, and the task where there are several.
        setting: what else was set, such as ``q=300``; empty in a single run.
        rows: :func:`dax_lightning.stats.tables.typed` rows.
    """

    box: str
    setting: str
    rows: pd.DataFrame

    @property
    def title(self) -> str:
        """Box and setting in one line, as far as there are any.

        Example:
            >>> Part("vit", "q=300", pd.DataFrame()).title
            'vit · q=300'
        """
        return _joined((self.box, self.setting))

    @property
    def wrong(self) -> bool:
        """Whether these are the cases that the black box gets wrong: which map of a wrong answer is best is not known.

        Example:
            >>> Part("vit", "only=wrong q=300", pd.DataFrame()).wrong
            True
        """
        return WRONG in self.setting.split()

    def best(self, known: Known, groups: pd.DataFrame, metrics: Iterable[str]) -> dict[str, list[Any]]:
        """The best of this part's lines for each metric, see :meth:`Known.best`; of wrong answers none is.

        Example:
            >>> groups = pd.DataFrame({"iou": [0.2, 0.4], "iou_n": [9, 9]})
            >>> [Part("vit", f"only={only}", groups).best(Known({"iou": True}), groups, ["iou"]) for only in ("correct", "wrong")]
            [{'iou': [1]}, {}]
        """
        return {} if self.wrong or groups.empty else {metric: known.best(groups, metric) for metric in metrics}

    @property
    def methods(self) -> list[str]:
        """The explainers in the order of appearance.

        Example:
            >>> Part("vit", "", pd.DataFrame({"explainer": ["dax", "lime", "dax"]})).methods
            ['dax', 'lime']
        """
        return list(dict.fromkeys(self.rows["explainer"]))


def parts_of(rows: pd.DataFrame) -> list[Part]:
    """Split the rows of a run or sweep into parts, in the order of appearance.

    Seeds stay together. Where one explainer comes with several losses, segmenters or q and ``setting`` does not name them, they
    are told apart too.

    Example:
        >>> from dax_lightning.stats.tables import typed
        >>> rows = typed(pd.DataFrame({"case": "a", "explainer": ["dax", "lime"], "black_box": "vit", "setting": ["q=1", "q=2"]}))
        >>> [part.title for part in parts_of(rows)]
        ['vit · q=1', 'vit · q=2']
    """
    groups = rows.assign(_setting=_settings(rows)).groupby(["task", "black_box", "_setting"], sort=False, dropna=False)
    named = ["task", "black_box"] if len(set(rows["task"])) > 1 else ["black_box"]
    return [
        Part(_joined(str(part[name].iloc[0]) for name in named), str(part["_setting"].iloc[0]), part.drop(columns="_setting"))
        for _, part in groups
    ]


def compares(parts: list[Part]) -> bool:
    """Whether any part has more than one explainer.

    Example:
        >>> compares([Part("", "", pd.DataFrame({"explainer": ["dax", "dax"]}))])
        False
    """
    return any(len(part.methods) > 1 for part in parts)


def right_and_wrong(parts: list[Part]) -> list[tuple[Part, Part]]:
    """Pairs of parts with the cases that the same black box, otherwise set alike, gets right and wrong.

    Example:
        >>> parts = [Part("vit", setting, pd.DataFrame()) for setting in ("only=wrong", "only=correct", "only=all")]
        >>> [(right.setting, wrong.setting) for right, wrong in right_and_wrong(parts)]
        [('only=correct', 'only=wrong')]
    """
    by_name = {(part.box, part.setting): part for part in parts}
    sought = [(by_name.get((part.box, part.setting.replace(WRONG, RIGHT))), part) for part in parts if part.wrong]
    return [(right, wrong) for right, wrong in sought if right is not None]


def first_of_each_box(parts: list[Part]) -> list[Part]:
    """One part a black box, where pictures of all would be too many.

    Example:
        >>> [part.title for part in first_of_each_box([Part("a", "q=1", pd.DataFrame()), Part("a", "q=2", pd.DataFrame())])]
        ['a · q=1']
    """
    return list({part.box: part for part in reversed(parts)}.values())[::-1]


def _joined(texts: Iterable[str]) -> str:
    return " · ".join(text for text in texts if text)


def _settings(rows: pd.DataFrame) -> list[str]:
    """Add to each row's setting what varies within one explainer of it."""
    same = rows.groupby(["task", "black_box", "setting", "explainer"], dropna=False)
    varied = [key for key in _VARIED if len(rows) and max(same[key].nunique()) > 1]
    return [
        " ".join([row["setting"], *(f"{key}={_plain(row[key])}" for key in varied if row[key] == row[key])]).strip()
        for row in rows.to_dict("records")
    ]


def _plain(value: str | float) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
