"""Texts: token ids, one after the other."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from dax_lightning.errors import InputError
from dax_lightning.inputs.base import Input, check_length
from dax_lightning.inputs.lines import picture_of


@dataclass(frozen=True)
class TextInput(Input):
    """Ids of tokens in a vocabulary, (1, tokens), as floats. Values range from 0 to the last id.

    Args:
        vocabulary: the token of each id.
        mask: id that stands for a token that is taken away.
        tokens: number of tokens; ``None``: any.
        unknown: id of a word that the vocabulary lacks; ``None``: such a word is refused.

    Raises:
        InputError: under two tokens in the vocabulary, one of them twice, an id that it lacks, or a length below 1.

    Example:
        >>> text = TextInput(("[MASK]", "a", "good", "film"), mask=0)
        >>> text.encode("a good film".split()), text.decode(text.encode(["good"]))
        (tensor([[1., 2., 3.]]), ['good'])
    """

    kind: ClassVar[str] = "text"
    has_space: ClassVar[bool] = False
    vocabulary: tuple[str, ...]
    mask: int
    tokens: int | None = None
    unknown: int | None = None

    def __post_init__(self) -> None:
        if len(self.vocabulary) < 2 or len(set(self.vocabulary)) != len(self.vocabulary):
            distinct = len(set(self.vocabulary))
            raise InputError(f"vocabulary of {len(self.vocabulary)} tokens, {distinct} distinct: wanted two or more, each once")
        for name, given in (("mask", self.mask), ("unknown", self.unknown)):
            if given is not None and not 0 <= given < len(self.vocabulary):
                raise InputError(f"{name}={given}: wanted an id of the vocabulary, 0 to {len(self.vocabulary) - 1}")
        check_length("tokens", self.tokens)
        object.__setattr__(self, "high", float(len(self.vocabulary) - 1))

    @property
    def shape(self) -> tuple[int | None, ...]:
        """(1, tokens)."""
        return (1, self.tokens)

    def neutral(self, x: Float[Tensor, "1 j"]) -> Float[Tensor, "1 j"]:
        """As many mask tokens."""
        return torch.full_like(x, self.mask)

    def encode(self, words: Iterable[str]) -> Float[Tensor, "1 j"]:
        """The ids of words.

        Raises:
            InputError: a word that the vocabulary lacks, without ``unknown``.
        """
        ids = [(word, self._ids.get(word, self.unknown)) for word in words]
        lacking = next((word for word, found in ids if found is None), None)
        if lacking is not None:
            raise InputError(f"word {lacking!r} is not among the {len(self.vocabulary)} of the vocabulary: give unknown=ID")
        return torch.tensor([[float(found) for _, found in ids if found is not None]])

    def decode(self, x: Float[Tensor, "1 j"]) -> list[str]:
        """The token of each id."""
        return [self.vocabulary[int(token)] for token in x[0].tolist()]

    @property
    def suffixes(self) -> tuple[str, ...]:
        """See :class:`Input`."""
        return (".txt",)

    def read(self, path: Path) -> Float[Tensor, "1 j"]:
        """A text file in UTF-8; its words are what white space parts."""
        path = path.expanduser()
        try:
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"input {path} can't be read as text ({error}): wanted a text file in UTF-8") from error
        x = self.encode(text.split())
        self.check(x)
        return x

    def places(self, x: Float[Tensor, "1 j"]) -> tuple[str, ...]:
        """The words."""
        return tuple(self.decode(x))

    def show(self, x: Float[Tensor, "1 j"]) -> Image.Image:
        """The words, in lines."""
        lines = [""]
        for word in self.decode(x):
            lines[-1:] = [f"{lines[-1]} {word}".strip()] if len(lines[-1]) + len(word) < 60 else [lines[-1], word]
        return picture_of(lines)

    def check(self, x: Float[Tensor, "c *space"]) -> None:
        """As for every input; and ids are whole numbers."""
        super().check(x)
        if (x != x.round()).any():
            raise InputError("the input holds ids that are no whole numbers: make it with black_box.input")

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {word: token for token, word in enumerate(self.vocabulary)}
