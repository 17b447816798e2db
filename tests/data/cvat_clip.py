"""A short made-up video with the labels that CVAT would export: a van and a dog that cross.

``python -m tests.data.cvat_clip FOLDER`` writes clip.mp4, annotations.xml, and first.xml with only half of the frames.
"""

from __future__ import annotations

import sys
from pathlib import Path

import av
import cv2
import numpy as np

SIZE = (180, 320)  # height, width
COLORS = {"van": (220, 60, 40), "dog": (40, 180, 230)}  # RGB


def write_clip(folder: Path, *, num_frames: int = 60) -> None:
    """``clip.mp4`` and ``annotations.xml`` ("CVAT for video 1.1"), and ``first.xml``, a job of its first half."""
    folder.mkdir(parents=True, exist_ok=True)
    outlines = [outlines_at(frame / num_frames) for frame in range(num_frames)]
    write_video(folder / "clip.mp4", outlines)
    (folder / "annotations.xml").write_text(cvat_xml(outlines), encoding="utf-8")
    (folder / "first.xml").write_text(cvat_xml(outlines[: num_frames // 2]), encoding="utf-8")


def outlines_at(moment: float) -> dict[str, np.ndarray]:
    """Polygons [n, 2] of x and y at a moment from 0 to 1."""
    x, y = 40 + 200 * moment, 50 + 20 * np.sin(10 * moment)
    van = np.array([[x, y], [x + 60, y], [x + 75, y + 20], [x + 75, y + 40], [x, y + 40]])
    turn = np.linspace(0, 2 * np.pi, 17)[:-1]
    x, y = 260 - 170 * moment, 120 + 15 * np.cos(12 * moment)
    return {"van": van, "dog": np.stack([x + 30 * np.cos(turn), y + 20 * np.sin(turn)], 1)}


def write_video(path: Path, outlines: list[dict[str, np.ndarray]]) -> None:
    H, W = SIZE
    coarse = np.random.default_rng(0).integers(60, 160, (6, 10, 3), np.uint8)
    background = cv2.resize(coarse, (W, H), interpolation=cv2.INTER_CUBIC)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=15)
        stream.width, stream.height, stream.pix_fmt, stream.options = W, H, "yuv420p", {"crf": "12"}
        for polygons in outlines:
            frame = background.copy()
            for name, polygon in polygons.items():
                cv2.fillPoly(frame, [polygon.astype(np.int32)], COLORS[name])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def cvat_xml(outlines: list[dict[str, np.ndarray]]) -> str:
    H, W = SIZE
    T = len(outlines)
    lines = [
        '<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version><meta><task><id>1</id>',
        f"<size>{T}</size><start_frame>0</start_frame><stop_frame>{T - 1}</stop_frame>",
        f"<original_size><width>{W}</width><height>{H}</height></original_size></task></meta>",
    ]
    for number, name in enumerate(outlines[0]):
        lines.append(f'<track id="{number}" label="{name}" source="manual">')
        for frame, polygons in enumerate(outlines):
            points = ";".join(f"{x:.2f},{y:.2f}" for x, y in polygons[name])
            lines.append(f'<polygon frame="{frame}" outside="0" occluded="0" keyframe="1" points="{points}"/>')
        lines.append("</track>")
    return "\n".join([*lines, "</annotations>\n"])


if __name__ == "__main__":
    write_clip(Path(sys.argv[1]))
