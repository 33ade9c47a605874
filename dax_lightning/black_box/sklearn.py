"""A black box that is an estimator of scikit-learn: pixels in a row, or a row of a table."""

import hashlib
import importlib
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dax_lightning.black_box.base import BlackBox, class_names
from dax_lightning.black_box.model_file import FileModel, Layout, View, existing, file_fingerprint
from dax_lightning.black_box.torch.module import Numbers
from dax_lightning.errors import InputError, cause_of, remedy
from dax_lightning.inputs.image import Crop
from dax_lightning.inputs.table import TableInput

_WANTED = "a .skops file by skops.io.dump"
_PICKLES = (".pkl", ".pickle", ".joblib")


def sklearn_model(
    file: Any,
    size: int | tuple[int, int] | list[int] | None = None,
    channels: int | None = None,
    low: int | float | None = None,
    high: int | float | None = None,
    mean: Numbers = None,
    std: Numbers = None,
    crop: Crop = "center",
    table: str | None = None,
    classes: str | list[str] | tuple[str, ...] | None = None,
    multi_label: bool = False,
    batch_size: int = 256,
    trusted: list[str] | None = None,
    trust_pickle: bool = False,
) -> BlackBox:
    """A black box that is an estimator with ``predict_proba``: of pictures whose pixels are its features, or of rows of a table.

    A ``.skops`` file holds no code; types of scikit-learn, NumPy and SciPy are made from it, and none else that isn't named.

    Args:
        file: a ``.skops`` file, or the estimator itself.
        size: (H, W) in pixels, or one side, of pictures that are flattened, channels last; ``None``: rows of a table.
        channels: of a picture; ``None``: as many as the features leave.
        low: smallest value of a pixel; ``None``: 0.
        high: largest value of a pixel; ``None``: 1.
        mean: see :func:`~dax_lightning.black_box.onnx.onnx_model`.
        std: see there.
        crop: ``center`` or ``squash``.
        table: a ``.csv`` file of typical rows, below a header with the features' names: it tells each feature's range and mean.
        classes: class names, or a text file with one a line; ``None``: the estimator's ``classes_``.
        multi_label: each class is its own yes or no.
        batch_size: rows a call.
        trusted: other types that the file may hold, such as ``my_package.MyStep``; they are imported.
        trust_pickle: unpickle a ``.pkl`` or ``.joblib`` file, which runs whatever code is in it.

    Raises:
        InputError: scikit-learn or skops is missing, the file is missing, damaged, pickled or holds other types, that is no
            estimator with ``predict_proba``, or the size doesn't fit its features.

    Example:
        >>> from sklearn.linear_model import LogisticRegression
        >>> estimator = LogisticRegression().fit([[0.0] * 4, [1.0] * 4], ["dark", "light"])
        >>> box = sklearn_model(estimator, size=2)
        >>> box.input.shape, box.classes
        ((1, 2, 2), ('dark', 'light'))
    """
    estimator, name, fingerprint = _read(file, trusted or [], trust_pickle)
    if not callable(getattr(estimator, "predict_proba", None)):
        told = "svm.SVC needs probability=True" if type(estimator).__name__ == "SVC" else "CalibratedClassifierCV adds it"
        raise InputError(f"{name} is a {type(estimator).__name__} without predict_proba, which is what is asked: {told}")
    features = getattr(estimator, "n_features_in_", None)
    layout = Layout((features,), dtype="float64", channels_last=True)
    view = View(size, channels, low, high, crop, mean, std)
    taken = view.on(layout, name) if size is not None or features is None else _table(estimator, features, table)
    if table is not None and not isinstance(taken, TableInput):
        raise InputError(f"table={table} and size={size}: one is for rows of a table, the other for pictures: leave out one")
    names = class_names(classes) or _own_names(estimator)
    model = FileModel(SklearnRun(estimator), layout, view, name, fingerprint, names)
    return BlackBox(model, taken, "probabilities", multi_label or _multi(estimator), batch_size)


class SklearnRun:
    """An estimator, from one batch to probabilities.

    Args:
        estimator: has ``predict_proba``.
    """

    def __init__(self, estimator: Any):
        self.estimator = estimator
        self.names = getattr(estimator, "feature_names_in_", None)

    def __call__(self, batch: np.ndarray) -> Any:
        """The probabilities of one batch."""
        rows: Any = batch
        if self.names is not None:  # it was fitted on a data frame, and warns of anything else
            import pandas

            rows = pandas.DataFrame(batch, columns=self.names)
        made = self.estimator.predict_proba(rows)
        if isinstance(made, list):  # of several labels, each with its own no and yes
            return np.stack([one[:, -1] for one in made], 1)
        return made


def _read(file: Any, trusted: Sequence[str], trust_pickle: bool) -> tuple[Any, str, str]:
    """The estimator, its name, its fingerprint."""
    if not isinstance(file, str | Path):
        return file, type(file).__name__, hashlib.sha256(pickle.dumps(file)).hexdigest()[:16]
    path = existing(file, _WANTED)
    if path.suffix.lower() in _PICKLES:
        if not trust_pickle:
            raise InputError(
                f"model file {path} is pickled, and unpickling runs whatever code is in it: save the estimator by "
                f"skops.io.dump(estimator, 'model.skops'); or, if you trust it, say {remedy('trust_pickle=true')}"
            )
        return _unpickled(path), path.name, file_fingerprint(path)
    return _of_skops(path, trusted), path.name, file_fingerprint(path)


def _unpickled(path: Path) -> Any:
    try:
        import joblib

        return joblib.load(path)
    except Exception as error:  # whatever the code in it raises
        raise InputError(f"model file {path} can't be unpickled ({cause_of(error, 200)}): wanted {_WANTED}") from error


def _of_skops(path: Path, trusted: Sequence[str]) -> Any:
    try:
        import skops.io
    except ImportError as error:
        raise InputError("black_box=sklearn needs scikit-learn and skops: pip install 'dax-lightning[sklearn]'") from error
    try:
        foreign = skops.io.get_untrusted_types(file=path)
    except Exception as error:  # damaged bytes fail in any way
        raise InputError(f"model file {path} can't be read by skops ({cause_of(error, 200)}): wanted {_WANTED}") from error
    unknown = [name for name in foreign if name not in trusted and not _of_sklearn(name)]
    if unknown:
        listed = ",".join([*trusted, *unknown])
        raise InputError(
            f"model file {path} holds types that nobody vouched for ({', '.join(unknown)}): if you trust them, say "
            f"{remedy(f'trusted=[{listed}]')}"
        )
    try:
        return skops.io.load(path, trusted=list(foreign))
    except Exception as error:  # another version of scikit-learn fails in any way
        raise InputError(f"model file {path} can't be read by skops ({cause_of(error, 200)}): save it by this version") from error


def _of_sklearn(name: str) -> bool:
    """Whether a type that skops leaves to us, such as a decision tree, is a class of scikit-learn's own, and no function."""
    module, _, kind = name.rpartition(".")
    if module.partition(".")[0] != "sklearn":
        return False
    try:
        found = getattr(importlib.import_module(module), kind, None)
    except ImportError:
        return False
    return isinstance(found, type) and found.__module__.partition(".")[0] == "sklearn"


def _table(estimator: Any, features: int, table: str | None) -> TableInput:
    own = getattr(estimator, "feature_names_in_", None)
    names = tuple(f"x{feature}" for feature in range(features)) if own is None else tuple(map(str, own))
    if table is None:
        return TableInput(names)
    import pandas

    try:
        rows = pandas.read_csv(Path(table).expanduser(), encoding="utf-8")
    except Exception as error:  # pandas has one a fault
        raise InputError(f"table={table} can't be read ({cause_of(error, 200)}): wanted a .csv file with a header") from error
    missing = [name for name in names if name not in rows.columns]
    if missing and len(rows.columns) == features and own is None:  # the estimator knows no names: the header has them
        names, missing = tuple(map(str, rows.columns)), []
    if missing:
        raise InputError(f"table={table} lacks the column {missing[0]}: wanted a header with every feature's name")
    try:
        values = torch.tensor(rows[list(names)].to_numpy(dtype=np.float32))
    except (TypeError, ValueError) as error:
        raise InputError(
            f"table={table} holds what is no number ({cause_of(error, 100)}): wanted numbers in {', '.join(names)}"
        ) from error
    if not torch.isfinite(values).all():
        raise InputError(f"table={table} has empty cells or infinite values: fill them first")
    return TableInput.of(values, names)


def _own_names(estimator: Any) -> tuple[str, ...] | None:
    found = getattr(estimator, "classes_", None)
    if found is None or isinstance(found, list) or np.ndim(found) != 1:
        return None
    return tuple(str(name) for name in found)


def _multi(estimator: Any) -> bool:
    """Whether it was fitted on several labels a row."""
    return isinstance(getattr(estimator, "classes_", None), list) or bool(getattr(estimator, "multilabel_", False))
