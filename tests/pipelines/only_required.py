"""A logged model where nothing is installed but what it requires: prints its label map of an image, a PNG in base64.

`python -P only_required.py MODEL IMAGE`: the other packages are hidden, as in an environment made from the model's
requirements.txt with pip, to which this comes close without the downloads.
"""

import importlib.abc
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import (
    Distribution,
    DistributionFinder,
    PackageNotFoundError,
    distribution,
    packages_distributions,
)
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def closure(lines: list[str]) -> set[str]:
    """Names of the distributions that these requirements lead to."""
    open_, found = [Requirement(line) for line in lines], set()
    while open_:
        wanted = open_.pop()
        key = (canonicalize_name(wanted.name), *sorted(wanted.extras))
        if key not in found:
            found.add(key)
            open_ += [need for need in needs(wanted.name) if applies(need, wanted.extras)]
    return {name for name, *_ in found}


def needs(name: str) -> list[Requirement]:
    """What a distribution asks for; nothing if it is not installed: opencv-python, for which headless stands here."""
    try:
        return [Requirement(line) for line in distribution(name).requires or []]
    except PackageNotFoundError:
        return []


def applies(need: Requirement, extras: set[str]) -> bool:
    """Whether it is needed on this machine with these extras."""
    return need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in ("", *extras))


class Finder(importlib.abc.MetaPathFinder):
    """Python's own finder of files, without each module and distribution that is not `allowed`."""

    def __init__(self, allowed: set[str]):
        self.allowed = allowed
        self.owners = {top: set(map(canonicalize_name, names)) for top, names in packages_distributions().items()}

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """None where all distributions that have this module are left out."""
        owners = self.owners.get(name.partition(".")[0])
        return None if owners and not owners & self.allowed else PathFinder.find_spec(name, path, target)

    def find_distributions(self, context: DistributionFinder.Context) -> Iterator[Distribution]:
        """Those that are allowed."""
        found = PathFinder.find_distributions(context)
        return (each for each in found if canonicalize_name(each.metadata["Name"]) in self.allowed)


if __name__ == "__main__":
    model, image = map(Path, sys.argv[1:])
    finder = Finder(closure((model / "requirements.txt").read_text().splitlines()))
    sys.meta_path = [finder if each is PathFinder else each for each in sys.meta_path]
    import mlflow
    import pandas as pd

    answer = mlflow.pyfunc.load_model(str(model)).predict(pd.DataFrame({"image": [image.read_bytes()]}))
    print(answer["labels"][0])
