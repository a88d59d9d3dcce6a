"""Import the names of a package on first use, so that importing the package stays fast."""

from collections.abc import Callable
from importlib import import_module


def on_first_use(package: str, home: dict[str, str]) -> Callable[[str], object]:
    """Return the ``__getattr__`` of ``package``; ``home`` maps a public name to the module of the package that defines it."""

    def get(name: str) -> object:
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{home[name]}"), name)

    return get
