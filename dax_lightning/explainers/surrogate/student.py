"""LIME and RISE on a student: the student learns from the black box's answers, and is then asked for nothing."""

from abc import abstractmethod
from collections.abc import Iterator
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dax_lightning.black_box.base import BlackBox
from dax_lightning.errors import InputError, whole
from dax_lightning.explainers.base import PLANES
from dax_lightning.explainers.dax import SparseLoss, Training
from dax_lightning.explainers.dax.data import PerturbationDataModule, grown
from dax_lightning.explainers.dax.explainer import Distiller, Learner, Reading
from dax_lightning.explainers.dax.module import DaxModule, Recorder, answers
from dax_lightning.explainers.masking.base import mean_by_place
from dax_lightning.explainers.masking.rise import smooth_masks
from dax_lightning.explainers.surrogate.lime import weighted_ridge
from dax_lightning.game.subsets import Perturber, level_of
from dax_lightning.segment.base import Segmenter

_AT_ONCE = 256  # copies the student is asked about at once
_CELLS = 7  # a side of RISE's random grid


class Open(nn.Module):
    """A mask that lets everything through.

    Example:
        >>> Open()(torch.zeros(2, 3, 4, 4)).shape
        torch.Size([2, 1, 4, 4])
    """

    def forward(self, copies: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 1 h w"]:
        """Ones for each copy."""
        return torch.ones_like(copies[:, :1])


class StudentFirst(Distiller):
    """Trains the student alone on the black box's answers, by weighted squared error; subclasses explain it.

    Args:
        black_box: what is explained.
        segmenter: parts the input; copies lose whole segments.
        perturber: makes the copies.
        learner: the student, and what it learns; there is no mask network.
        training: how it is trained; ``optim.lr_mask`` is not used.
        q: copies that the black box is asked about, the input included.
        copies: copies that the student is asked about; they cost no queries.
        seed: of all randomness.
    """

    def __init__(
        self,
        black_box: BlackBox,
        segmenter: Segmenter | None = None,
        perturber: Perturber | None = None,
        learner: Learner | None = None,
        training: Training | None = None,
        q: int = 1000,
        copies: int = 4000,
        seed: int = 0,
    ):
        super().__init__(black_box, segmenter, perturber, learner, training, q, seed)
        copies = whole("explainer.copies", copies)
        if copies < 3:
            raise InputError(f"explainer.copies={copies}: the student is asked about at least 3 copies; try 4000")
        self.copies = copies

    def _module(self, data: PerturbationDataModule) -> DaxModule:
        return DaxModule(
            mask_network=Open(),
            student=self.learner.student(channels=len(data.x) + self.learner.sees_kept, size=data.pool.size),
            loss=SparseLoss(lam1=0.0, lam2=0.0),
            space=self.learner.targets,
            sees_kept=self.learner.sees_kept,
            optim=self.training.optim,
        )

    def _read(self, x: Tensor, data: PerturbationDataModule, module: DaxModule, recorder: Recorder) -> Reading:
        module.eval()
        with torch.no_grad():
            cells = self._explain_student(data, module)
        if cells.shape != x.shape[1:]:
            cells = grown(cells, tuple(x.shape[1:]))
        return Reading(cells, {"copies": self.copies})

    @abstractmethod
    def _explain_student(self, data: PerturbationDataModule, module: DaxModule) -> Float[Tensor, "a b"]:
        """The map of the student, at the input's size or smaller."""


class StudentLime(StudentFirst):
    """LIME's weighted linear model, of a student's answers instead of the black box's.

    See :class:`StudentFirst` for the arguments.

    Example:
        >>> from dax_lightning.black_box import from_function
        >>> from dax_lightning.segment.grid import Grid
        >>> def top_left(rows):
        ...     share = rows[:, :, :16, :16].mean((1, 2, 3))
        ...     return torch.stack([share, 1 - share], 1)
        >>> box = from_function(top_left, size=(32, 32))
        >>> lime = StudentLime(box, Grid(4, 4), Perturber(fill="zeros"), q=200)
        >>> made = lime.explain(torch.ones(3, 32, 32), target=0)
        >>> made.queries, bool(made.saliency[:16, :16].mean() > made.saliency[16:].mean())
        (200, True)
    """

    name: ClassVar[str] = "student_lime"

    def _explain_student(self, data: PerturbationDataModule, module: DaxModule) -> Float[Tensor, "*space"]:
        level = level_of(data.segments, data.x)
        kept = self.perturber.subsets(self.copies, level, data.generator)
        kept[0] = True  # the input itself
        values = torch.cat([answers(module, *data.pool(rows)) for rows in kept.split(_AT_ONCE)])
        return weighted_ridge(kept, values, self.perturber.closeness(kept, level)).importance[data.segments]


class StudentRise(StudentFirst):
    """RISE's mean answer behind random smooth masks, of a student's answers instead of the black box's.

    What a mask hides shows the perturber's fill, which is what the student learned from. See :class:`StudentFirst` for the
    other arguments.

    Example:
        >>> from dax_lightning.black_box import from_function
        >>> from dax_lightning.segment.grid import Grid
        >>> box = from_function(lambda rows: rows[:, :2, :16, :16].mean((2, 3)), size=(32, 32), multi_label=True)
        >>> rise = StudentRise(box, Grid(4, 4), Perturber(fill="zeros"), q=200)
        >>> made = rise.explain(torch.ones(3, 32, 32), target=0)
        >>> made.queries, bool(made.saliency[:16, :16].mean() > made.saliency[16:].mean())
        (200, True)
    """

    name: ClassVar[str] = "student_rise"
    kinds: ClassVar[tuple[str, ...]] = PLANES

    def _explain_student(self, data: PerturbationDataModule, module: DaxModule) -> Float[Tensor, "a b"]:
        whole = torch.ones(1, int(data.segments.max()) + 1, dtype=torch.bool)
        (shown, _), (hidden, _) = data.pool(whole), data.pool(~whole)

        def asked() -> Iterator[tuple[Tensor, Tensor]]:
            for masks in self._masks(data):
                copies = torch.lerp(hidden, shown, masks[:, None])
                yield masks, answers(module, copies, masks[:, None])

        return mean_by_place(asked()).float()

    def _masks(self, data: PerturbationDataModule) -> Iterator[Float[Tensor, "_ a b"]]:
        for start in range(0, self.copies, _AT_ONCE):
            n = min(_AT_ONCE, self.copies - start)
            draws = torch.rand(n, _CELLS**2 + 2, generator=data.generator)
            yield smooth_masks((draws[:, :-2] < 0.5).float().view(n, _CELLS, _CELLS), draws[:, -2:], data.pool.size)
