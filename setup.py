"""Build a wheel that contains ``conf/`` as ``gradclip/conf``; all other package settings are in pyproject.toml."""

from shutil import copytree

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithConfigs(build_py):
    """Copy the modules, then the configs; an editable install reads the configs of the checkout."""

    def run(self) -> None:
        """Copy both."""
        super().run()
        if not self.editable_mode:
            copytree("conf", f"{self.build_lib}/gradclip/conf", dirs_exist_ok=True)


setup(cmdclass={"build_py": BuildWithConfigs})
