"""Names of videos as names of folders: they stay inside the output and take no other file's place."""

from __future__ import annotations

import hashlib
from collections.abc import Container

# Files and folders that runs write beside the folders of the videos.
RESERVED = frozenset(
    {
        "analysis", "checkpoints", "config.given.yaml", "config.yaml", "environment.json", "evaluated.json",
        "log.txt", "metrics.json", "metrics.jsonl", "report.html", "results.json", "settings.json", "videos",
        "videos.json",
    }
)  # fmt: skip
MAX_BYTES = 120  # file systems take 255, of which temporary names need a part
NAMELESS = "video"


def safe_folder_name(name: str, *, taken: Container[str] = ()) -> str:
    """A plain folder name close to ``name``; other than those of ``taken`` (in lower case) and of a run's own files."""
    plain = "".join(letter if letter.isprintable() and letter not in '/\\:*?"<>|' else "_" for letter in name)
    plain = plain.strip(" ").lstrip(".").rstrip(". ") or NAMELESS
    encoded = plain.encode("utf-8")
    if len(encoded) > MAX_BYTES:
        digest = hashlib.sha256(encoded).hexdigest()[:8]
        plain = f"{encoded[: MAX_BYTES - 9].decode('utf-8', errors='ignore')}-{digest}"
    candidate, number = plain, 2
    while candidate.casefold() in RESERVED or candidate.casefold() in taken:
        candidate, number = f"{plain}-{number}", number + 1
    return candidate
