"""Builds the wheel. What is said of the package is in pyproject.toml; here is only what data goes into it from outside.

In the repository the embedded models lie in `checkpoints/`, as a Space and the Hub want them, and what was measured in
`benchmarks/results/`. A wheel carries both inside the package, where `utils/installed_data.py` finds them.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

# From where, which files, and to where in `ebm_refine/installed`. Pictures that only the documentation shows stay out.
DATA = (
    ("checkpoints", "*/*", "checkpoints"),
    ("benchmarks/results", "*.json", "results"),
    ("benchmarks/results", "grid-search-*.png", "results"),
)


class BuildWithData(build_py):
    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        inside = Path(self.build_lib) / "ebm_refine" / "installed"
        shutil.rmtree(inside, ignore_errors=True)
        for source, pattern, target in DATA:
            for file in Path(source).glob(pattern):
                place = inside / target / file.relative_to(source)
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, place)


setup(cmdclass={"build_py": BuildWithData})
