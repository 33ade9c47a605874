"""Ships the repository's conf/ inside the package; all else stands in pyproject.toml."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class WithConf(build_py):
    """Copies conf/ to dax_lightning/conf of what is built; an editable install reads the repository's own."""

    def run(self) -> None:
        """See ``build_py``."""
        super().run()
        if not self.editable_mode:
            made = Path(self.build_lib, "dax_lightning", "conf")
            shutil.rmtree(made, ignore_errors=True)  # of an earlier build
            shutil.copytree("conf", made)


setup(cmdclass={"build_py": WithConf})
