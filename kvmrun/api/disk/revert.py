"""Reverting a guest that does not run: fresh overlays on the bases of its drives; all else stays."""

from collections.abc import Callable
from contextlib import ExitStack

from kvmrun.api.definition import definitions, guest_images
from kvmrun.api.lab import LabHandle, guest_or_error, refuse_other_image
from kvmrun.errors import Refused
from kvmrun.host.disk import image_files
from kvmrun.host.facts import guest_facts
from kvmrun.host.files import known_hosts, ownership
from kvmrun.host.process.signals import defer_signals
from kvmrun.host.rundir import rundir
from kvmrun.model.deadline import current
from kvmrun.model.guest.guest import Guest
from kvmrun.model.value import Value
from kvmrun.plan.guest import revert_plan
from kvmrun.plan.steps.guest_steps import MakeImage


class Reversal(Value):
    """The images of a guest that are replaced by fresh overlays, and those that stay because they have no base."""

    guest: str
    images: tuple[str, ...]
    kept: tuple[str, ...]


def revert_guest(lab: LabHandle, name: str, *, confirm: Callable[[Reversal], bool] | None = None) -> Reversal | None:
    """Give each drive of a guest that has a base a fresh overlay; what the guest wrote to the old one is lost.

    All fresh overlays are made before the first takes its place. `confirm` is asked before anything is made, unless
    there is nothing to replace; where it returns False, nothing is changed, and the result is None.

    Raises: ConfigError, NoSuchGuest; Refused where the guest runs, is protected or has no drive with a base, or where
    one of its images cannot be used or belongs to another guest; KvmrunError where there is no room; what `confirm`
    raises.
    """
    lab = LabHandle(lab.paths)  # whose definitions are read anew
    guest, where = guest_or_error(lab.definitions, name), lab.paths
    if guest.protect:
        reason = "its definition says protect = true"
        raise Refused(f"{name} is protected", f"set protect = false in {name}.toml", reason=reason)
    with rundir.locked(where.guest(name), name):
        definitions.require_stopped(where, name, "reverted")
        refuse_other_image(where, guest)
        facts = guest_facts.disk_facts(guest, where, guest_facts.RunningGuests(where))
        steps = revert_plan.fresh_overlays(guest, facts)
        _refuse_shared(lab, guest, steps)
        kept = [drive.image for drive in guest.drive if not (drive.is_readonly() or revert_plan.is_reverted(drive))]
        reversal = Reversal(guest=name, images=tuple(step.path for step in steps), kept=tuple(kept))
        if steps and confirm is not None and not confirm(reversal):
            return None
        _replace(steps)
        ownership.claim_images(where, guest)
        known_hosts.forget(where, name)  # its system makes others when it begins anew
    return reversal


def _refuse_shared(lab: LabHandle, guest: Guest, steps: list[MakeImage]) -> None:
    for step in steps:
        if others := [name for name in guest_images.image_users(lab, step.path) if name != guest.name]:
            fix = f"give each guest an image of its own: kvmrun edit {guest.name}"
            raise Refused(f"{step.path} cannot be reverted", fix, reason=f"it belongs to {', '.join(others)}, too")


def _replace(steps: list[MakeImage]) -> None:
    with ExitStack() as stack:
        put = [stack.enter_context(image_files.replacement(step, current())) for step in steps]
        with defer_signals():  # of a guest with several drives, either all are fresh or none
            for one in put:
                one()
