"""Where results of the official sets go, as far as it is known. None of it was tried by us."""

from __future__ import annotations

import dataclasses

_CODALAB = "https://codalab.lisn.upsaclay.fr/competitions"
_YOUTUBE_VIS = (
    "CodaLab took uploads on its web page only and has been switched off; where results go now, the organisers say on "
    "https://youtube-vos.org/dataset/vis/"
)


@dataclasses.dataclass(frozen=True)
class Competition:
    """``address``: the page that papers name. ``state``: one line of what is known of it."""

    name: str
    address: str
    state: str

    def line(self) -> str:
        return f"{self.name}: {self.address}; {self.state}"


# By the name of the set in datas/data.json.
COMPETITIONS = {
    "ytvis19": Competition("YouTube-VIS 2019", f"{_CODALAB}/6064", _YOUTUBE_VIS),
    "ytvis21": Competition("YouTube-VIS 2021", f"{_CODALAB}/7680", _YOUTUBE_VIS),
    "ytvis22": Competition("YouTube-VIS 2022", f"{_CODALAB}/3410", _YOUTUBE_VIS),
    "ovis": Competition(
        "OVIS",
        f"{_CODALAB}/4763",
        "reported as expired in February 2026, with labels of the validation set now among the downloads of "
        "https://songbai.site/ovis: with them 'mindvideo eval' scores at home",
    ),
}


def competition_of(dataset: str) -> Competition | None:
    """Of a set's name, with or without its split (``ytvis19/valid``)."""
    return COMPETITIONS.get(dataset.split("/")[0])
