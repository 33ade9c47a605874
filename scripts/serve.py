"""Serve a black box over HTTP: ``python scripts/serve.py black_box=lite0 port=8000``."""

import sys
from collections.abc import Sequence

from hydra import compose, initialize_config_dir

from dax_lightning.errors import InputError
from dax_lightning.run.config import USER_ERRORS, build, one_line, with_short_cuts
from dax_lightning.run.help import conf_folder
from dax_lightning.serve import app, run

_OWN = {"host": "127.0.0.1", "port": "8000", "name": "model", "token_env": ""}


def main(arguments: Sequence[str]) -> int:
    """Serve until Ctrl-C; 0 when it was stopped, 2 when the settings were wrong.

    Args:
        arguments: ``host=``, ``port=`` (0: a free one), ``name=`` and ``token_env=``; all others go to the configuration.
    """
    own = dict(_OWN)
    for argument in arguments:
        key, _, value = argument.partition("=")
        if key in own:
            own[key] = value
    try:
        if not own["port"].isdigit() or int(own["port"]) > 65535:
            raise InputError(f"port={own['port']}: wanted 0 to 65535")
        rest = [argument for argument in arguments if argument.partition("=")[0] not in own]
        with initialize_config_dir(str(conf_folder()), version_base="1.3"):
            cfg = compose("config", with_short_cuts(rest))
        black_box = build(cfg.black_box, "black_box")
        run(app(black_box, own["name"], token_env=own["token_env"] or None), own["host"], int(own["port"]))
    except USER_ERRORS as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
