"""Add the recipes of configs/ to the wheel, as repro/configs. All other settings are in pyproject.toml."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithRecipes(build_py):
    """The step that collects the files of the wheel. Editable installations read configs/ itself."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            for recipe in sorted(Path("configs").rglob("*.yaml")):
                target = Path(self.build_lib, "repro", recipe)
                self.mkpath(str(target.parent))
                self.copy_file(str(recipe), str(target))


setup(cmdclass={"build_py": BuildWithRecipes})
