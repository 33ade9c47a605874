"""``hydra/sweeper=optuna``: Hydra takes plug-ins from this namespace alone; what it does is in the package."""

import inspect

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.plugins.search_path_plugin import SearchPathPlugin

from dax_lightning.run.help import conf_folder
from dax_lightning.run.tune import Search

__all__ = ["Named", "OptunaSweeper"]


class OptunaSweeper(Search):
    """See :class:`~dax_lightning.run.tune.Search`; Hydra knows plug-ins by the module that defines them."""


class Named(SearchPathPlugin):
    """Gives :class:`OptunaSweeper` its name in this project's commands, also where hydra-optuna-sweeper has taken it.

    Other Hydra applications keep theirs. A YAML in ``conf/`` can't have the name of another package's structured config.
    """

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Called by Hydra when all plug-ins are known, before anything is composed."""
        if any(str(place.path).endswith(str(conf_folder())) for place in search_path.get_path()):
            defaults = {name: one.default for name, one in inspect.signature(Search).parameters.items()}
            node = {"_target_": f"{__name__}.OptunaSweeper", **defaults, "params": {}}
            ConfigStore.instance().store(group="hydra/sweeper", name="optuna", node=node, provider="dax-lightning")
