"""The three things that flow through the house: a case, its perturbed copies, its explanation.

Shapes: ``c`` channels, ``*space`` is (H, W) for images, (mel, time) or (time,) for audio, ``n`` copies, ``j`` segments.
"""

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dax_lightning.errors import InputError


@dataclass(frozen=True)
class Case:
    """One input to explain, as the black box sees it.

    Args:
        key: name of the case, unique in its task; part of file names.
        x: the input, values in [0, 1].
        target: class id that is explained.
        truth: where the target really is, if known.
        ignore: places that count neither for nor against a map (VOC's void), if any.
        segments: a partition that comes with the case (ids 0 to j - 1), if any.
        wrong: a class id whose object is not in the picture, if one is known.
    """

    key: str
    x: Float[Tensor, "c *space"]
    target: int
    truth: Bool[Tensor, "*space"] | None = None
    ignore: Bool[Tensor, "*space"] | None = None
    segments: Int[Tensor, "*space"] | None = None
    wrong: int | None = None


@dataclass(frozen=True)
class Perturbations:
    """A batch of perturbed copies of one input; the first row of the first batch is the input itself.

    Args:
        inputs: the copies, values in [0, 1].
        kept: which segments stay as they are.
        weight: closeness of each copy to the input, in (0, 1], 1 for the input itself.
    """

    inputs: Float[Tensor, "n c *space"]
    kept: Bool[Tensor, "n j"]
    weight: Float[Tensor, " n"]


@dataclass(frozen=True)
class Explanation:
    """A saliency map and what it cost.

    Args:
        saliency: higher means that the place speaks more for ``target``; finite, in the method's own units, never rescaled.
        target: class id that was explained.
        score: the black box's score of the target on the unperturbed input, in [0, 1].
        queries: rows that this explanation asked, those that :meth:`BlackBox.bank` knew already among them.
        seconds: wall-clock seconds of the whole explanation, with what the answers from the bank took when they were asked.
        segments: the partition the copies were made from (ids 0 to j - 1), if the method has one.
        seconds_black_box: the part of ``seconds`` spent in the black box.
        notes: facts of the method, such as ``fidelity`` (the student's held-out weighted R²); plain JSON values.
        warnings: sentences for the user, such as that the student learned nothing and what to try.
        epochs: the mask after each epoch of training, where there were any, at the networks' resolution.

    Example:
        >>> import tempfile
        >>> made = Explanation(torch.ones(2, 2), target=3, score=0.9, queries=10, seconds=0.1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     made.save(Path(folder, "cat__dax"))
        ...     Explanation.load(Path(folder, "cat__dax")).target
        3
    """

    saliency: Float[Tensor, "*space"]
    target: int
    score: float
    queries: int
    seconds: float
    segments: Int[Tensor, "*space"] | None = None
    seconds_black_box: float = 0.0
    notes: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    epochs: Float[Tensor, "e h w"] | None = None

    def save(self, stem: Path, **more: Any) -> None:
        """Write ``stem.npz`` (saliency float32, segments int32) and ``stem.json`` (everything else, and ``more``)."""
        stem = Path(stem)
        arrays: dict[str, Any] = {"saliency": self.saliency.cpu().numpy().astype(np.float32)}
        if self.segments is not None:
            arrays["segments"] = self.segments.cpu().numpy().astype(np.int32)
        if self.epochs is not None:
            arrays["epochs"] = self.epochs.cpu().numpy().astype(np.float32)
        np.savez_compressed(_with_suffix(stem, ".npz"), **arrays)
        facts = {k: v for k, v in asdict(self).items() if k not in ("saliency", "segments", "epochs")}
        _with_suffix(stem, ".json").write_text(
            json.dumps(_finite({**facts, **more}), indent=2, ensure_ascii=False, allow_nan=False)
        )

    @classmethod
    def load(cls, stem: Path) -> "Explanation":
        """Read back what :meth:`save` wrote; nothing is unpickled.

        Raises:
            InputError: one of the two files is missing.
        """
        stem = Path(stem)
        for file in (_with_suffix(stem, ".npz"), _with_suffix(stem, ".json")):
            if not file.is_file():
                raise InputError(f"no explanation at {stem}: {file.name} is missing; give the path without its ending")
        facts = json.loads(_with_suffix(stem, ".json").read_text(encoding="utf-8"))
        with _with_suffix(stem, ".npz").open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            saliency = torch.from_numpy(arrays["saliency"])
            segments = torch.from_numpy(arrays["segments"]).long() if "segments" in arrays else None
            epochs = torch.from_numpy(arrays["epochs"]) if "epochs" in arrays else None
        known = {k: facts[k] for k in ("target", "score", "queries", "seconds", "seconds_black_box", "notes")}
        return cls(saliency=saliency, segments=segments, warnings=tuple(facts["warnings"]), epochs=epochs, **known)


def _with_suffix(stem: Path, suffix: str) -> Path:
    return stem.parent / (stem.name + suffix)  # Path.with_suffix would cut "a.b" at its dot


def _finite(node: Any) -> Any:
    """The same, with null in place of NaN and infinities, which JSON does not know."""
    if isinstance(node, dict):
        return {key: _finite(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [_finite(value) for value in node]
    return None if isinstance(node, float) and not math.isfinite(node) else node
