"""A fuzz run that coverage guides, over the doors that read bytes: it works, or one line says why not. Never another error.

Run: pip install atheris; python -m benchmarks.fuzz DOOR [-max_total_time=SECONDS]. The doors are those of ``benchmarks.doors``.
tests/test_fuzz.py tries the same doors, and more, with hypothesis.
"""

import logging
import sys
import warnings
from importlib import import_module
from typing import Any


def main() -> None:
    try:
        atheris: Any = import_module("atheris")
    except ImportError:
        raise SystemExit("error: this needs atheris: pip install atheris") from None
    with atheris.instrument_imports(include=["dax_lightning"]):
        from benchmarks.doors import DOORS, PLACE, seeds
        from dax_lightning.errors import InputError
        from tests.test_fuzz import is_one_line
    if len(sys.argv) < 2 or sys.argv[1] not in DOORS:
        raise SystemExit(f"error: wanted a door, one of {', '.join(DOORS)}")
    name = sys.argv.pop(1)
    door, corpus = DOORS[name], PLACE / "corpus"
    corpus.mkdir()
    for number, data in enumerate(seeds(name)):
        (corpus / str(number)).write_bytes(data)
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)

    def tried(data: bytes) -> None:
        try:
            door(data)
        except InputError as error:
            if not is_one_line(str(error)):
                raise RuntimeError(f"not one line: {error!r}") from error

    atheris.Setup([sys.argv[0], f"-artifact_prefix={PLACE}/", *sys.argv[1:], str(corpus)], tried)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
