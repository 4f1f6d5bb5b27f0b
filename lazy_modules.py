"""Names that a module offers without holding them: looked up in another module when first asked for.

Modules that few need can so stay apart, import the module that offers their names, and cost nothing until used.
"""

import importlib
from collections.abc import Callable


def names_of(other: str, offered_by: str) -> Callable[[str], object]:
    """Return a module's `__getattr__` that offers the names of another module as its own."""

    def look_up(name: str) -> object:
        if name.startswith("__") or not hasattr(module := importlib.import_module(other), name):
            raise AttributeError(f"module {offered_by!r} has no attribute {name!r}")
        return getattr(module, name)

    return look_up
