"""Loss terms that a user's file registers."""

from __future__ import annotations

from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn

from mindvideo import load_config
from mindvideo.config import known_configs
from mindvideo.errors import UserError
from mindvideo.modules.losses import own
from mindvideo.modules.losses.criterion import Criterion, LossTerm
from mindvideo.modules.losses.own import import_file, own_terms
from mindvideo.modules.losses.terms import l1_boxes
from tests.modules.losses.test_tables import D, predictions, targets

PAGE = Path(__file__).resolve().parents[3] / "docs" / "own_data.md"
QUERY = np.array([[[0, 3, 1, -1], [2, -1, -1, -1]]] * D, np.int32)


@pytest.fixture(autouse=True)
def nothing_registered(monkeypatch):
    monkeypatch.setattr(own, "_REGISTERED", {})


def example() -> str:
    """The file that the page shows."""
    (code,) = [part for part in PAGE.read_text().split("```python\n")[1:] if "@loss_term" in part]
    return code.partition("```")[0]


def test_the_example_of_the_page_adds_its_term(tmp_path):
    """Its value is that of the same sum in NumPy, and its gradient reaches the boxes."""
    (tmp_path / "my_losses.py").write_text(example())
    import_file(tmp_path / "my_losses.py")
    terms = [LossTerm("loss_bbox", l1_boxes, 1.0), *own_terms(["steady_size=0.5"])]
    criterion = Criterion(terms=terms, num_layers=D, reduce_count=nn.Identity())
    assert criterion.term_names == ("loss_bbox", "loss_steady_size", "loss_bbox_0", "loss_steady_size_0")
    given, wanted = predictions(), targets()
    boxes = given["boxes"]

    def total(boxes):
        return criterion({"logits": given["logits"], "boxes": boxes}, wanted, ms.Tensor(QUERY))

    (loss, values), gradient = ms.value_and_grad(total, has_aux=True)(boxes)
    sides, present = boxes.asnumpy()[..., 2:], wanted["present"].asnumpy()
    expected = 0.0
    for b, n in [(0, 0), (0, 1), (0, 2), (1, 0)]:
        steps = np.abs(np.diff(sides[-1, b, QUERY[-1, b, n]], axis=0)).sum(-1)
        expected += (steps * present[b, n, 1:] * present[b, n, :-1]).sum()
    assert values.asnumpy()[1] == pytest.approx(expected / (4 * 3), rel=1e-5)  # 4 instances, 3 frames
    assert float(loss) == pytest.approx(float(values.asnumpy() @ [1, 0.5, 1, 0.5]), rel=1e-5)
    assert np.abs(gradient.asnumpy()[..., 2:]).max() > 0


@pytest.mark.parametrize("name", sorted(name for name in known_configs() if name.endswith("_toy")))
def test_every_family_takes_them(name):
    assert load_config(name, ["loss.own_terms=[steady_size=0.5]"]).loss.own_terms == ["steady_size=0.5"]


def test_mistakes_are_told_in_a_line(tmp_path):
    (tmp_path / "broken.py").write_text("def x(:\n")
    (tmp_path / "absent.py").write_text("import no_such_module_here\n")
    for file, said in (
        ("broken.py", "line 1: SyntaxError"),
        ("absent.py", "ModuleNotFoundError"),
        ("none.py", "no such"),
    ):
        with pytest.raises(UserError, match=said):
            import_file(tmp_path / file)
    with pytest.raises(UserError, match="registered are: none; name the file"):
        own_terms(["steady_size"])
    own.loss_term()(l1_boxes)
    assert own_terms(["l1_boxes"])[0].weight == 1.0
    for given in ("l1_boxes=much", "l1_boxes=-1", "l1_boxes=inf", "l1_boxes="):
        with pytest.raises(UserError, match="with a weight from 0 to 1e6"):
            own_terms([given])
    with pytest.raises(UserError, match="two loss terms have one name"):
        twice = [LossTerm("loss_bbox", l1_boxes, 1.0)] * 2
        Criterion(terms=twice, num_layers=1, reduce_count=nn.Identity())
