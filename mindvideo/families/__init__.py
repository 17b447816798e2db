"""Every model family, by the name that a configuration gives in ``family``."""

from mindvideo.families import defvistr, instanceformer, seqformer, vistr
from mindvideo.families.base import Family

FAMILIES: dict[str, Family] = {card.FAMILY.name: card.FAMILY for card in (vistr, defvistr, instanceformer, seqformer)}
