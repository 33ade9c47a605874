"""Estimators of scikit-learn: digits and table rows, read from skops files, explained end to end."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import skops.io
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_digits, load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from dax_lightning import MosaicDax, Random, explain, from_model
from dax_lightning.black_box import sklearn_model
from dax_lightning.errors import InputError
from dax_lightning.metrics.faithfulness import Deletion
from dax_lightning.tasks import Files
from dax_lightning.types import Case


class Own(ClassifierMixin, BaseEstimator):
    """A type that skops doesn't know."""

    def fit(self, X, y):
        self.classes_, self.n_features_in_ = np.unique(y), X.shape[1]
        return self

    def predict_proba(self, X):
        return np.full((len(X), len(self.classes_)), 1 / len(self.classes_))


class Evil:
    def __init__(self, file: Path):
        self.file = file

    def __reduce__(self):
        return (Path.touch, (self.file,))


@pytest.fixture(scope="module")
def digits(tmp_path_factory) -> Path:
    data: Any = load_digits()
    estimator = make_pipeline(StandardScaler(), LogisticRegression(C=0.02, max_iter=300)).fit(data.data, data.target)
    file = tmp_path_factory.mktemp("digits") / "digits.skops"
    skops.io.dump(estimator, file)
    return file


def refused(match, make, *args, **more):
    with pytest.raises(InputError, match=match) as told:
        make(*args, **more)
    assert "\n" not in str(told.value)


def test_digits_answer_as_scikit_learn_does(digits):
    data: Any = load_digits()
    box = from_model(digits, size=8, high=16)
    assert (box.input.shape, box.classes) == ((1, 8, 8), tuple("0123456789"))
    rows = torch.tensor(data.images[:50], dtype=torch.float32)[:, None]
    wanted = skops.io.load(digits).predict_proba(data.data[:50])
    assert np.allclose(box(rows), wanted, atol=1e-5)
    assert from_model(digits, size=8, high=16).fingerprint == box.fingerprint


def test_digits_are_explained_better_than_by_chance(digits):
    """The pixels that the map names first take the prediction away sooner than pixels in random order."""
    data: Any = load_digits()
    box = from_model(digits, size=8, high=16)
    metric, areas = Deletion(fill="image_mean"), {"dax": [], "random": []}  # black is what most of a digit's picture is already
    for index in range(12):
        x, target = torch.tensor(data.images[index], dtype=torch.float32)[None], int(data.target[index])
        for name, method in (("dax", MosaicDax(box, q=300)), ("random", Random(box))):
            areas[name].append(metric(Case(str(index), x, target), method.explain(x, target), method))
    assert np.mean(areas["dax"]) < 0.3 * np.mean(areas["random"])


def test_rows_of_a_table_are_explained(tmp_path):
    data: Any = load_iris(as_frame=True)
    estimator = RandomForestClassifier(20, random_state=0).fit(data.data, data.target_names[data.target])
    skops.io.dump(estimator, tmp_path / "iris.skops")
    data.data.to_csv(tmp_path / "iris.csv", index=False)
    data.data.iloc[[3]].to_csv(tmp_path / "row.csv", index=False)
    box = from_model(tmp_path / "iris.skops", table=str(tmp_path / "iris.csv"))
    assert box.classes == ("setosa", "versicolor", "virginica")
    assert box.input.typical == pytest.approx(data.data.mean().tolist(), rel=1e-4)
    case = Files(box, str(tmp_path / "row.csv"))[0]
    made = explain(box, case.x, "setosa", "lime", q=200)
    petals = [place for place, name in enumerate(box.input.names) if name.startswith("petal")]
    assert set(made.saliency.argsort(descending=True)[:2].tolist()) == set(petals)
    assert from_model(tmp_path / "iris.skops").input.names == tuple(data.feature_names)
    refused("lacks the column sepal length", from_model, tmp_path / "iris.skops", table=other_table(tmp_path))
    refused("table=.* and size=2", from_model, tmp_path / "iris.skops", table=str(tmp_path / "iris.csv"), size=2)


def other_table(folder) -> str:
    pandas.DataFrame({"a": [1.0]}).to_csv(folder / "other.csv", index=False)
    return str(folder / "other.csv")


def test_types_that_nobody_vouched_for_are_listed(tmp_path):
    skops.io.dump(Own().fit(np.zeros((2, 4)), [0, 1]), tmp_path / "own.skops")
    name = "tests.test_sklearn_models.Own"
    refused(rf"types that nobody vouched for \({name}\).*trusted=\[{name}\]", from_model, tmp_path / "own.skops", size=2)
    assert from_model(tmp_path / "own.skops", size=2, trusted=[name])(torch.zeros(1, 1, 2, 2)).tolist() == [[0.5, 0.5]]


def test_pickles_are_refused_unless_they_are_trusted(tmp_path):
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps(Evil(tmp_path / "ran")))
    refused("evil.pkl is pickled, .* save the estimator by skops.io.dump.* trust_pickle=true", from_model, tmp_path / "evil.pkl")
    assert not (tmp_path / "ran").exists()
    estimator = LogisticRegression().fit([[0.0] * 4, [1.0] * 4], [0, 1])
    (tmp_path / "good.pkl").write_bytes(pickle.dumps(estimator))
    box = from_model(tmp_path / "good.pkl", size=2, trust_pickle=True)
    assert box(torch.ones(1, 1, 2, 2))[0, 1].item() == pytest.approx(estimator.predict_proba([[1.0] * 4])[0, 1], abs=1e-6)


def test_what_is_no_classifier_is_told(tmp_path):
    refused("LinearSVC without predict_proba.*CalibratedClassifierCV", sklearn_model, LinearSVC())
    (tmp_path / "x.skops").write_bytes(b"nothing")
    refused("x.skops can't be read by skops", from_model, tmp_path / "x.skops")
    refused("values, LogisticRegression takes 4", sklearn_model, LogisticRegression().fit(np.eye(4), [0, 0, 1, 1]), size=3)


def test_several_labels_at_once():
    rng = np.random.default_rng(0)
    data = rng.random((40, 12))
    estimator = MultiOutputClassifier(LogisticRegression()).fit(data, data[:, :3] > 0.5)
    box = sklearn_model(estimator, size=2)
    assert box.multi_label
    assert box(torch.rand(2, 3, 2, 2)).shape == (2, 3)


def test_colours_are_flattened_channels_last():
    data = np.random.default_rng(0).random((20, 12))
    estimator = LogisticRegression().fit(data, data[:, 0] > 0.5)
    rows = torch.tensor(data.reshape(20, 2, 2, 3), dtype=torch.float32).permute(0, 3, 1, 2)
    assert np.allclose(sklearn_model(estimator, size=2)(rows), estimator.predict_proba(data), atol=1e-5)
