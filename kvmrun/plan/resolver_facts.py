"""What was observed of systemd-resolved."""

from typing import Literal

from kvmrun.model.value import Value


class LinkSettings(Value):
    """What systemd-resolved was told of a link. A domain that is only routed to its servers begins with "~".

    `protocols` are those that it may use there besides plain DNS.
    """

    servers: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()
    default_route: bool = False
    protocols: tuple[str, ...] = ()


class ResolverFacts(Value):
    """systemd-resolved as it was found: "silent" where it, or the bus, does not answer.

    `link` is what it was told of the bridge, `used` whether programs of the host ask it, and `rivals` are other links
    with the domain of the network. `note` is None where kvmrun has told it nothing, "" where it has, and otherwise why
    it could not.
    """

    state: Literal["absent", "silent", "running"] = "absent"
    link: LinkSettings = LinkSettings()
    used: bool = True
    rivals: tuple[str, ...] = ()
    note: str | None = None
