"""Recorded draws of the original training pipelines -> the parameters of our transforms."""

from __future__ import annotations

from typing import Any

from mindvideo.data.transforms.photometric import FrameColours


class Draws:
    """The values of a recorded list of [function, arguments, value], taken one after the other."""

    def __init__(self, draws: list[list[Any]]) -> None:
        self._draws = [(name.split(".")[-1], arguments, value) for name, arguments, value in draws]

    def take(self, function: str, arguments: list[Any] | None = None) -> Any:
        """The next value, which must come from ``function`` (and these arguments, if given)."""
        name, given, value = self._draws.pop(0)
        assert name == function, f"{name}{given} was drawn where {function} is expected"
        assert arguments is None or given == arguments, f"{name}{given}, expected {arguments}"
        return value[0] if isinstance(value, list) and function == "randint" else value

    def take_flip(self) -> bool:
        return self.take("random") < 0.5

    def take_maybe(self, arguments: list[float]) -> float | None:
        return self.take("uniform", arguments) if self.take("randint", [2]) else None

    def take_colours(self) -> FrameColours:
        brightness = self.take_maybe([-32, 32])
        contrast_first = bool(self.take("randint", [2]))
        contrast = self.take_maybe([0.5, 1.5]) if contrast_first else None
        saturation = self.take_maybe([0.5, 1.5])
        hue = self.take_maybe([-18.0, 18.0])
        contrast = contrast if contrast_first else self.take_maybe([0.5, 1.5])
        channels = self.take("randint", [6]) if self.take("randint", [2]) else None
        return FrameColours(
            brightness=brightness,
            contrast_first=contrast_first,
            contrast=contrast,
            saturation=saturation,
            hue=hue,
            channels=channels,
        )

    def take_crop(self) -> tuple[int, int, int, int]:
        width, height = self.take("randint"), self.take("randint")
        top, left = self.take("randint"), self.take("randint")
        return top, left, height, width

    @property
    def are_used_up(self) -> bool:
        return not self._draws
