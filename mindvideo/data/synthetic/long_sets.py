"""Made-up sets of long videos, each of which asks one thing of a tracker: objects that stay, come and go, and cuts."""

from __future__ import annotations

import dataclasses

from mindvideo.data.synthetic.videos import Presence, SyntheticRecipe, longer

# The sets and how many frames their videos have; each is a split of the made-up set, with a random stream of its own.
LONG_SETS = {"stay": 60, "late": 60, "late200": 200, "cuts": 60}
FRAMES_PER_OBJECT = 20  # in `late` videos: how many more objects a longer one has


def long_recipe(recipe: SyntheticRecipe, name: str) -> SyntheticRecipe:
    """The recipe of a set of ``LONG_SETS`` with the looks of ``recipe``.

    ``stay``: three or four objects that stay in view and cross. ``late``, ``late200``: one object at the start, the
    others enter at any time up to three quarters; a third of all leaves for good, some leave and come back. ``cuts``:
    two scenes spliced.
    """
    recipe = dataclasses.replace(longer(recipe, LONG_SETS[name]), objects=(3, 4))
    if name == "stay":
        return dataclasses.replace(recipe, min_crossings=1)
    if name == "cuts":
        return dataclasses.replace(recipe, scenes=2)
    more = (recipe.num_frames - LONG_SETS["late"]) // (2 * FRAMES_PER_OBJECT)
    return dataclasses.replace(recipe, objects=(3 + more, 4 + more), presence=Presence())
