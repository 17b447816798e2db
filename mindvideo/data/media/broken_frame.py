"""The error for a frame that cannot be used."""

from __future__ import annotations


class BrokenFrameError(Exception):
    """A frame that is missing, unreadable or of another size than annotated; the message names the file."""


class BrokenVideoError(BrokenFrameError):
    """A video file none of whose frames can be used."""
