"""Names in XML files: escaped, and without the control characters that XML cannot hold even so."""

from __future__ import annotations

import re
from xml.sax.saxutils import escape, quoteattr

_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def content(string: str) -> str:
    """Between two tags."""
    return escape(_NOT_IN_XML.sub("?", string))


def attribute(string: str) -> str:
    """With its quotes."""
    return quoteattr(_NOT_IN_XML.sub("?", string))
