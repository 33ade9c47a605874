"""The errors a user can mend: one line that says what was wanted, what came and what to do."""


class InputError(ValueError):
    """What the user gave can't be used; the message is one line and names the remedy.

    ``train.py`` prints the message without a traceback and exits with code 2.

    Example:
        >>> str(InputError("q=0 copies asked for; q must be at least 2: try q=1000"))
        'q=0 copies asked for; q must be at least 2: try q=1000'
    """


def remedy(setting: str, group: str = "black_box") -> str:
    """A setting as a Python user writes it, and as the command line does.

    Args:
        setting: ``name=value``.
        group: where the command line has it.

    Example:
        >>> remedy("outputs=logits")
        'outputs=logits (black_box.outputs=logits on the command line)'
    """
    return f"{setting} ({group}.{setting} on the command line)"


class SingleSegment(InputError):
    """A segmenter found nothing to tell apart in this input."""


class BudgetExceeded(InputError):
    """An explanation asked the black box for more rows than ``budget`` allows."""


class ModelError(InputError):
    """The black box gave something that is not a table of class scores, such as NaN or a wrong shape."""
