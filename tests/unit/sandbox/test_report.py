"""Which layers hold is found out, not believed."""

import pytest

from ironclad_assets.sandbox import child
from ironclad_assets.sandbox.report import describe_cage


def test_the_cage_is_described_by_a_child_that_is_in_it() -> None:
    layers = describe_cage()
    assert layers[0] == "limits"
    assert "no_new_privileges" in layers
    assert set(layers) <= {"limits", "network_namespace", "no_new_privileges", "no_capabilities", "landlock"}


def test_a_layer_that_the_kernel_refuses_is_not_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """WATCH-002: a cage without walls is told."""
    deny = (
        "from ironclad_assets.sandbox import confine\n"
        "def deny(*_, **__): raise OSError(1, 'Operation not permitted')\n"
        "confine.leave_network = confine._restrict_files = deny\n"
    )
    start = child.BOOTSTRAP.replace("; from", f"; exec({deny!r}); from", 1)
    monkeypatch.setattr(child, "BOOTSTRAP", start)
    assert {"network_namespace", "landlock"}.isdisjoint(describe_cage())
