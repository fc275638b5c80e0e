"""The guests that the words of a start mean."""

from kvmrun.api.lab import LabHandle, expand_groups, is_known
from kvmrun.cli.arguments import Args, refuse_names
from kvmrun.errors import UsageError


def start_names(handle: LabHandle, args: Args) -> list[str]:
    """The guests the words mean, those too that are not known. Raises UsageError and NoSuchGuest."""
    lab = handle.definitions
    if args.implied and any(not is_known(lab, word) for word in args.guests):
        from kvmrun.cli.foreign_names import refuse  # not for those who typed what there is

        refuse(lab, args)
    if args.all and args.autostart:
        raise UsageError("--all cannot be combined with --autostart", "kvmrun up --autostart")
    for flag, given in (("--all", args.all), ("--autostart", args.autostart)):
        if given:
            refuse_names(args, flag)
    if args.all:
        names = sorted([*lab.guests, *lab.invalid])
    elif args.autostart:
        return sorted(name for name, guest in lab.guests.items() if guest.autostart)
    else:
        names = expand_groups(lab, args.guests)
    if names:
        return names
    reason = f"{lab.directory} has no guests" if args.all else ""
    raise UsageError("no guest was named", "Name at least one guest, or use kvmrun up --all.", reason=reason)
