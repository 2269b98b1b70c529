"""The window in which a secret is seen once: nothing in it can be filled in, kept or sent back."""

from __future__ import annotations

from collections.abc import Iterable

from handlers.views.blocks import View, context, header, markup, modal, preformatted, section, sections

_TITLE = "Shown once"


def loading() -> View:
    """What opens at once, while it is checked who asks."""
    return modal(_TITLE, [section("One moment …")])


def build(secret: str, spelled: Iterable[tuple[str, str]], *, whose: str, advice: str) -> View:
    """The secret as it is, and character by character for the phone. No metadata, no callback, no inputs: a view
    travels back to us with whatever is pressed in it."""
    letters = [markup("{}   {}", char, words) for char, words in spelled]
    return modal(
        _TITLE,
        [
            header(whose),
            preformatted(secret),
            *context(advice),
            section(markup("*To read it out*")),
            *sections(letters),
        ],
        close="I have it",
    )


def told(sentence: str) -> View:
    """Why there is nothing to see."""
    return modal(_TITLE, [section(sentence)])
