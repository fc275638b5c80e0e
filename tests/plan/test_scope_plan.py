"""The scope of a guest: its limits, who keeps them, and how systemd is asked."""

import pytest
from support.builders import guest

from kvmrun.errors import HostLacks
from kvmrun.model.guest.resource_limits import Limits
from kvmrun.model.scalars import Size
from kvmrun.plan.guest.scope_plan import call, enter

GUEST = guest()
LIMITED = GUEST.replace(limits=Limits(memory=Size(1 << 30), cpu=150))


def test_without_systemd_there_is_no_scope_and_no_limit_is_pretended() -> None:
    assert enter(GUEST, systemd=False) is None
    for limits in (Limits(memory=Size(1 << 30)), Limits(cpu=50)):
        with pytest.raises(HostLacks, match="nothing on this host enforces them"):
            enter(GUEST.replace(limits=limits), systemd=False)


def test_how_systemd_is_asked() -> None:
    step = enter(LIMITED, systemd=True)
    assert step is not None
    assert str(step) == "move it into the scope kvmrun-vm1.scope, at most 1G and 150 % of a core"
    words = " ".join(call(step, [7, 8]))
    assert (
        "StartTransientUnit ssa(sv)a(sa(sv)) kvmrun-vm1.scope fail 8 Description s kvmrun: guest vm1 PIDs au 2 7 8"
        in words
    )
    assert words.endswith("MemoryMax t 1073741824 CPUAccounting b true CPUQuotaPerSecUSec t 1500000 0")
    bare = enter(GUEST, systemd=True)
    assert bare is not None
    assert not bare.limited
    assert "Max" not in " ".join(call(bare, [7]))


@pytest.mark.parametrize(("limits", "keys"), [
    (Limits(memory=Size(512 << 20)), ["limits.memory"]),
    (Limits(memory=Size(600 << 20), cpu=0), ["limits.cpu"]),
    (Limits(memory=Size(1), cpu=-1), ["limits.memory", "limits.cpu"]),
    (Limits(memory=Size(600 << 20), cpu=150), []),
])  # fmt: skip
def test_limits_that_cannot_be(limits: Limits, keys: list[str]) -> None:
    assert [key for key, _, _ in GUEST.replace(limits=limits).problems()] == keys
