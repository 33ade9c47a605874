"""Checks that several metrics share."""

from dax_lightning.errors import InputError
from dax_lightning.explainers.base import Explainer


def given(explainer: Explainer | None) -> Explainer:
    """The explainer that a metric needs.

    Raises:
        InputError: there is none.

    Example:
        >>> given(None)
        Traceback (most recent call last):
        ...
        dax_lightning.errors.InputError: this metric asks the black box: call it with the explainer that made the map
    """
    if explainer is None:
        raise InputError("this metric asks the black box: call it with the explainer that made the map")
    return explainer
