"""The three things that flow through the house: a case, its perturbed copies, its explanation.

Shapes: ``c`` channels, ``*space`` is (H, W) for images, (mel, time) or (time,) for audio, ``n`` copies, ``j`` segments.
"""

import hashlib
import html
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from matplotlib.axes import Axes
from torch import Tensor

from dax_lightning.errors import InputError, cause_of
from dax_lightning.files import read_json, read_npz


@dataclass(frozen=True, eq=False)
class Sound:
    """A recording, or a part of one.

    Args:
        wave: pressure over time, in [-1, 1].
        rate: samples a second.

    Example:
        >>> Sound(torch.zeros(1, 16000), 8000).seconds
        2.0
    """

    wave: Float[Tensor, "c time"]
    rate: int

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return self.wave.shape[-1] / self.rate


@dataclass(frozen=True, eq=False)
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
        asked: rows that the task asked to find the target; they count as the explanation's.
        sound: the recording that ``x`` was made from, if it is one.
        layers: name → more that is known of each place, 0 to 1, such as where the clip is audible.
    """

    key: str
    x: Float[Tensor, "c *space"]
    target: int
    truth: Bool[Tensor, "*space"] | None = None
    ignore: Bool[Tensor, "*space"] | None = None
    segments: Int[Tensor, "*space"] | None = None
    wrong: int | None = None
    asked: int = 0
    sound: Sound | None = None
    layers: Mapping[str, Float[Tensor, "*space"]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Explanation:
    """A saliency map, what it explains and what it cost. A notebook shows it as a picture. Equal is only the same object.

    Args:
        saliency: higher means that the place speaks more for ``target``; finite, in the method's own units, never rescaled.
        target: class id that was explained.
        score: the black box's score of the target on the unperturbed input, in [0, 1].
        queries: rows that this explanation asked, those that :meth:`BlackBox.bank` knew already among them.
        seconds: wall-clock seconds of the whole explanation, with what the answers from the bank took when they were asked.
        segments: the partition the copies were made from (ids 0 to j - 1), if the method has one.
        region: the places that the method names as what matters; ``None``: it names none, its map is all it tells.
        seconds_black_box: the part of ``seconds`` spent in the black box.
        notes: facts of the method, such as ``fidelity`` (the student's held-out weighted R²); plain JSON values.
        warnings: sentences for the user, such as that the student learned nothing and what to try.
        epochs: the mask after each epoch of training, where there were any, at the networks' resolution.
        x: the input as the model saw it.
        target_name: the target in words.
        kind: the input's kind, as in :class:`~dax_lightning.inputs.Input`. Empty: its shape tells.
        labels: a text's words or a table row's features, one a place.
        sound: the recording that was explained, if it is one. :meth:`save` leaves it out: a run writes it as a file of its own.
        step: seconds from one place to the next along the last axis, of sounds.
        hertz: the middle frequency of each band of a spectrogram, where it is known.
        method: the explainer's name.
        asked: rows that the model was asked once the target was known: without those that bank or store knew, with those that a
            wire asked again. ``None``: not known.

    Example:
        >>> import tempfile
        >>> made = Explanation(torch.ones(2, 2), target=3, score=0.9, queries=10, seconds=0.1, target_name="cat")
        >>> made
        Explanation(target=3 'cat', score=0.900, map=(2, 2), queries=10, seconds=0.1)
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
    region: Bool[Tensor, "*space"] | None = None
    seconds_black_box: float = 0.0
    notes: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    epochs: Float[Tensor, "e h w"] | None = None
    x: Float[Tensor, "c *space"] | None = None
    target_name: str = ""
    kind: str = ""
    labels: tuple[str, ...] = ()
    sound: Sound | None = None
    step: float | None = None
    hertz: tuple[float, ...] = ()
    method: str = ""
    asked: int | None = None

    def __repr__(self) -> str:
        name = f" {self.target_name!r}" if self.target_name else ""
        facts = f"target={self.target}{name}, score={self.score:.3f}, map={tuple(self.saliency.shape)}"
        flags = ["unfaithful"] if self.notes.get("unfaithful") else []
        flags += [f"{len(self.warnings)} warning{'s' * (len(self.warnings) > 1)}"] if self.warnings else []
        by = [f"method={self.method}"] if self.method else []
        return f"Explanation({', '.join([*by, facts, f'queries={self.queries}', f'seconds={self.seconds:.1f}', *flags])})"

    def _repr_html_(self) -> str:
        """The picture with the map laid over, and the facts below: what a notebook shows."""
        from dax_lightning.plots.canvas import as_uri  # drawing comes after this module, and only when asked for
        from dax_lightning.plots.kinds import drawing
        from dax_lightning.plots.panel import facts

        told = html.escape("  ·  ".join([*self._by, facts(self, self._named)]))
        warned = "".join(f'<div style="color:#b3261e;font-weight:600">{html.escape(text)}</div>' for text in self.warnings)
        return (
            f'<div style="font:14px/1.5 sans-serif"><img alt="the map of {html.escape(self._named)}" '
            f'style="max-width:100%" src="{as_uri(drawing(self))}"><div>{told}</div>{warned}</div>'
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the input with the map laid over, scaled for display; the map alone where there is no input.

        The title of an unfaithful map is red and says so.

        Args:
            ax: where to draw; ``None``: axes of a new pyplot figure.

        Example:
            >>> from matplotlib.figure import Figure
            >>> made = Explanation(torch.eye(4), target=3, score=0.9, queries=10, seconds=0.1, target_name="cat")
            >>> made.plot(Figure().subplots()).get_title()
            'cat 0.900'
        """
        from dax_lightning.plots.canvas import INK, RED, printable, style
        from dax_lightning.plots.kinds import draw, kind_of, new_axes

        axes = draw(new_axes(self) if ax is None else ax, self)
        if ax is not None and kind_of(self) == "image":  # axes of its own have the picture's shape
            axes.set_aspect("equal")
        title = " · ".join([*self._by, f"{printable(self._named, 50)} {self.score:.3f}"])
        axes.set_title(title, **style(10, RED if self.notes.get("unfaithful") else INK))
        return axes

    def save(self, stem: Path | str, **more: Any) -> None:
        """Write ``stem.npz`` (map, region, segments, masks, input) and ``stem.json`` (everything else, and ``more``).

        Maps are float32, segments int32. An input of 8-bit pixels is kept as such, others as float32; nothing is lost.
        ``stem.json`` also tells when it was saved (UTC) and the input's SHA-256. The folders above are made. A stem that ends in
        ``.npz`` or ``.json`` is taken without it.
        """
        stem = _stem(stem)
        stem.parent.mkdir(parents=True, exist_ok=True)
        arrays: dict[str, Any] = {"saliency": self.saliency.cpu().numpy().astype(np.float32)}
        if self.segments is not None:
            arrays["segments"] = self.segments.cpu().numpy().astype(np.int32)
        if self.region is not None:
            arrays["region"] = self.region.cpu().numpy().astype(bool)
        if self.epochs is not None:
            arrays["epochs"] = self.epochs.cpu().numpy().astype(np.float32)
        said = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in (*_ARRAYS, "sound")}
        said["saved"] = datetime.now(UTC).isoformat(timespec="seconds")
        if self.x is not None:
            x = self.x.detach().cpu().numpy().astype(np.float32)
            arrays["x"] = _packed(x)
            said["input_sha256"] = hashlib.sha256(f"{x.shape} ".encode() + x.tobytes()).hexdigest()
        np.savez_compressed(_with_suffix(stem, ".npz"), **arrays)
        text = json.dumps(_finite({**said, **more}), indent=2, ensure_ascii=False, allow_nan=False)
        _with_suffix(stem, ".json").write_text(text, encoding="utf-8", errors="backslashreplace")

    @classmethod
    def load(cls, stem: Path | str) -> "Explanation":
        """Read back what :meth:`save` wrote; nothing is unpickled.

        Raises:
            InputError: one of the two files is missing or damaged.
        """
        stem = _stem(stem)
        for file in (_with_suffix(stem, ".npz"), _with_suffix(stem, ".json")):
            if not file.is_file():
                raise InputError(f"no explanation at {stem}: {file.name} is missing; give the path that save got")
        try:
            return cls._read(stem)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:  # other facts, other arrays
            cause = cause_of(error, most=200)
            raise InputError(f"the explanation at {stem} is damaged ({cause}): remove it and explain the case again") from error

    @classmethod
    def _read(cls, stem: Path) -> "Explanation":
        said, arrays = read_json(_with_suffix(stem, ".json")), read_npz(_with_suffix(stem, ".npz"), only=_ARRAYS)
        for name, kind in _FACTS.items():
            if name in said and not (isinstance(said[name], kind) and type(said[name]) is not bool):
                raise ValueError(f"its {name} is {said[name]!r:.50}")
        found = {name: torch.from_numpy(_unpacked(array) if name == "x" else array) for name, array in arrays.items()}
        if "segments" in found:
            found["segments"] = found["segments"].long()
        known = {f.name: said[f.name] for f in fields(cls) if f.name in said and f.name not in ("warnings", "labels", "hertz")}
        return cls(
            **found, **known, warnings=tuple(said["warnings"]), labels=tuple(said["labels"]), hertz=tuple(said.get("hertz", ()))
        )

    @property
    def _named(self) -> str:
        return self.target_name or f"class {self.target}"

    @property
    def _by(self) -> list[str]:
        """What stands before the class: whether the map is unfaithful, and its method."""
        return (["unfaithful"] if self.notes.get("unfaithful") else []) + ([self.method] if self.method else [])


_FACTS: dict[str, Any] = {"target": int, "score": int | float, "queries": int, "seconds": int | float}
_FACTS |= {"seconds_black_box": int | float, "notes": dict, "target_name": str, "kind": str, "method": str, "warnings": list}
_FACTS |= {"labels": list, "step": int | float | None, "hertz": list}
_ARRAYS = ("saliency", "region", "segments", "epochs", "x")


def _stem(path: Path | str) -> Path:
    path = Path(path)
    return path.with_suffix("") if path.suffix in (".npz", ".json") else path


def _packed(x: Float[np.ndarray, "c *space"]) -> np.ndarray:
    """Pixels that were 8-bit are so again; anything else stays as it is."""
    pixels = np.nan_to_num(x * 255).round().clip(0, 255).astype(np.uint8)
    return pixels if np.array_equal(_unpacked(pixels), x) else x


def _unpacked(x: np.ndarray) -> Float[np.ndarray, "c *space"]:
    return x.astype(np.float32) / np.float32(255) if x.dtype == np.uint8 else x


def _with_suffix(stem: Path, suffix: str) -> Path:
    return stem.parent / (stem.name + suffix)  # Path.with_suffix would cut "a.b" at its dot


def _finite(node: Any) -> Any:
    """The same, with null in place of NaN and infinities, which JSON does not know."""
    if isinstance(node, dict):
        return {key: _finite(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [_finite(value) for value in node]
    return None if isinstance(node, float) and not math.isfinite(node) else node
