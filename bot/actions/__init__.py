"""The catalogue: everything an operator may have done, one file each. A new file here is a new action."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from bot.actions._action import Action


@cache
def catalogue() -> dict[str, Action]:
    """All actions by name, in alphabetical order. Found by looking: no list names them."""
    modules = (importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__))
    actions = [module.ACTION for module in modules if hasattr(module, "ACTION")]
    return {action.name: action for action in sorted(actions, key=lambda action: action.name)}
