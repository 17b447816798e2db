"""The one exception that stands for a mistake of the caller."""

from __future__ import annotations


class UserError(Exception):
    """Bad input: the message is one clear line (or a list of them) saying what was given, what is allowed, what to do.

    The command-line tools print the message without a traceback and exit with code 2.
    """


def printable(message: object) -> str:
    """On one line: what a file holds may break lines or change the colours of a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in str(message))
