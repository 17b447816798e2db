"""The one exception that stands for a mistake of the caller."""

from __future__ import annotations


class UserError(Exception):
    """Bad input: the message is one clear line (or a list of them) saying what was given, what is allowed, what to do.

    The command-line tools print the message without a traceback and exit with code 2.
    """


def printable(text: object) -> str:
    """``text`` with control characters written out, for what comes from a file or a server and goes to a terminal."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(text))
