"""Download SAM's weights ahead of time: ``python scripts/fetch_sam.py [vit_b]``."""

import sys
from collections.abc import Sequence

from dax_lightning.errors import InputError
from dax_lightning.segment.sam import Download, Sam


def main(arguments: Sequence[str], url: str | None = None) -> int:
    """Fetch one checkpoint into the cache; 0 when it is there, 2 when it could not be fetched."""
    try:
        Sam(model_type=arguments[0] if arguments else "vit_b", download=Download(url=url)).prepare()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
