"""LIME and RISE on a student: the student learns from the black box's answers, and is then asked for nothing."""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dax_lightning.answers import TargetSpace
from dax_lightning.baselines.lime import weighted_ridge
from dax_lightning.baselines.masks import mean_by_place
from dax_lightning.baselines.rise import smooth_masks
from dax_lightning.black_box.base import BlackBox
from dax_lightning.dax import MlpStudent, SparseLoss, Training
from dax_lightning.dax.data import PerturbationDataModule
from dax_lightning.dax.explainer import Distiller, Reading
from dax_lightning.dax.module import DaxModule, Recorder, answers
from dax_lightning.errors import InputError
from dax_lightning.perturb import Perturber, level_of
from dax_lightning.segment import Segmenter

_AT_ONCE = 256  # copies the student is asked about at once


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
        student: called with ``channels`` and ``size``; the student of one explanation.
        training: how it is trained; ``lr_mask`` is not used.
        q: copies that the black box is asked about, the input included.
        copies: copies that the student is asked about; they cost no queries.
        targets: the scale of the answers: ``log_odds`` or ``probability``.
        resolution: side of the grid on which the student sees the copies.
        sees_kept: the student is told which cells were removed.
        min_fidelity: below this held-out weighted R² the student has learned nothing and the explanation is flagged.
        seed: of all randomness.
        budget: most rows the black box may be asked.
    """

    def __init__(
        self,
        black_box: BlackBox,
        segmenter: Segmenter | None = None,
        perturber: Perturber | None = None,
        student: Callable[..., nn.Module] = MlpStudent,
        training: Training | None = None,
        q: int = 1000,
        copies: int = 4000,
        targets: TargetSpace = "log_odds",
        resolution: int = 28,
        sees_kept: bool = True,
        min_fidelity: float = 0.1,
        seed: int = 0,
        budget: int | None = None,
    ):
        super().__init__(
            black_box, segmenter, perturber, student, training, q, targets, resolution, sees_kept, min_fidelity, seed, budget
        )
        if copies < 3:
            raise InputError(f"explainer.copies={copies}: the student is asked about at least 3 copies; try 4000")
        self.copies = copies

    def _module(self, data: PerturbationDataModule) -> DaxModule:
        return DaxModule(
            mask_network=Open(),
            student=self.student(channels=len(data.x) + self.sees_kept, size=data.pool.size),
            loss=SparseLoss(lam1=0.0, lam2=0.0),
            space=self.targets,
            sees_kept=self.sees_kept,
            lr_student=self.training.lr_student,
            weight_decay=self.training.weight_decay,
            optimizer=self.training.optimizer,
        )

    def _read(self, x: Tensor, data: PerturbationDataModule, module: DaxModule, recorder: Recorder) -> Reading:
        module.eval()
        with torch.no_grad():
            cells = self._explain_student(data, module)
        if cells.shape != x.shape[1:]:
            cells = F.interpolate(cells[None, None], size=x.shape[1:], mode="bilinear", align_corners=False)[0, 0]
        return Reading(cells, {"copies": self.copies})

    @abstractmethod
    def _explain_student(self, data: PerturbationDataModule, module: DaxModule) -> Float[Tensor, "a b"]:
        """The map of the student, at the input's size or smaller."""


class StudentLime(StudentFirst):
    """LIME's weighted linear model, of a student's answers instead of the black box's.

    See :class:`StudentFirst` for the arguments.

    Example:
        >>> from dax_lightning.black_box import CallableBlackBox
        >>> from dax_lightning.segment import Grid
        >>> def top_left(rows):
        ...     share = rows[:, :, :16, :16].mean((1, 2, 3))
        ...     return torch.stack([share, 1 - share], 1)
        >>> box = CallableBlackBox(top_left, size=(32, 32))
        >>> lime = StudentLime(box, Grid(4, 4), Perturber(fill="zeros"), training=Training(progress=False), q=200)
        >>> made = lime.explain(torch.ones(3, 32, 32), target=0)
        >>> made.queries, bool(made.saliency[:16, :16].mean() > made.saliency[16:].mean())
        (200, True)
    """

    name: ClassVar[str] = "student_lime"

    def _explain_student(self, data: PerturbationDataModule, module: DaxModule) -> Float[Tensor, "h w"]:
        level = level_of(data.segments, data.x)
        kept = self.perturber.subsets(self.copies, level, data.generator)
        kept[0] = True  # the input itself
        values = torch.cat([answers(module, *data.pool(rows)) for rows in kept.split(_AT_ONCE)])
        return weighted_ridge(kept, values, self.perturber.closeness(kept, level)).importance[data.segments]


class StudentRise(StudentFirst):
    """RISE's mean answer behind random smooth masks, of a student's answers instead of the black box's.

    What a mask hides shows the perturber's fill, which is what the student learned from. See :class:`StudentFirst` for the
    other arguments.

    Args:
        cells: side of the grid of random cells, see :class:`~dax_lightning.baselines.rise.Rise`.

    Example:
        >>> from dax_lightning.black_box import CallableBlackBox
        >>> from dax_lightning.segment import Grid
        >>> box = CallableBlackBox(lambda rows: rows[:, :2, :16, :16].mean((2, 3)), size=(32, 32))
        >>> rise = StudentRise(box, Grid(4, 4), Perturber(fill="zeros"), training=Training(progress=False), q=200)
        >>> made = rise.explain(torch.ones(3, 32, 32), target=0)
        >>> made.queries, bool(made.saliency[:16, :16].mean() > made.saliency[16:].mean())
        (200, True)
    """

    name: ClassVar[str] = "student_rise"

    def __init__(
        self,
        black_box: BlackBox,
        segmenter: Segmenter | None = None,
        perturber: Perturber | None = None,
        student: Callable[..., nn.Module] = MlpStudent,
        training: Training | None = None,
        q: int = 1000,
        copies: int = 4000,
        cells: int = 7,
        targets: TargetSpace = "log_odds",
        resolution: int = 28,
        sees_kept: bool = True,
        min_fidelity: float = 0.1,
        seed: int = 0,
        budget: int | None = None,
    ):
        settings = (student, training, q, copies, targets, resolution, sees_kept, min_fidelity, seed, budget)
        super().__init__(black_box, segmenter, perturber, *settings)
        if not 1 <= cells <= resolution:
            raise InputError(f"explainer.cells={cells}: wanted 1 to resolution={resolution}; try 7")
        self.cells = cells

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
            draws = torch.rand(n, self.cells**2 + 2, generator=data.generator)
            yield smooth_masks((draws[:, :-2] < 0.5).float().view(n, self.cells, self.cells), draws[:, -2:], data.pool.size)
