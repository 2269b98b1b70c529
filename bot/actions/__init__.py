"""The catalogue: everything an operator may have done, one file each. A new file here is a new action."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from bot.actions._action import Action


@cache
def delegated() -> dict[str, Action]:
    """The actions that are done to people's accounts, by name: what `/m365` is followed by."""
    return {name: action for name, action in catalogue().items() if not action.own}


@cache
def catalogue() -> dict[str, Action]:
    """All actions by name, in alphabetical order, Latchkey's own included. Found by looking: no list names them."""
    modules = (importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__))
    actions = [module.ACTION for module in modules if hasattr(module, "ACTION")]
    return {action.name: action for action in sorted(actions, key=lambda action: action.name)}
