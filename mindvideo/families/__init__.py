"""Every model family, by the name that a configuration gives in ``family``."""

from mindvideo.families import instanceformer, vistr
from mindvideo.families.base import Family

FAMILIES: dict[str, Family] = {card.FAMILY.name: card.FAMILY for card in (instanceformer, vistr)}
