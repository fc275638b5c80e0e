"""What of this host has a say in a lab. osinfo-db is read when a guest that needs it is."""

import os

from kvmrun.config.lab_host import LabHost
from kvmrun.model.osinfo.os_facts import HostSize, OsFacts, OsMissing
from kvmrun.model.osinfo.os_name import OsName


def this_host(*, root: bool) -> LabHost:
    """This host, as the guests of a lab see it; root believes only what nobody else can have written."""

    def find(name: OsName) -> OsFacts | OsMissing:
        from kvmrun.host.osinfo.database import database  # only a guest needs it whose system is to tell its size

        return database(root=root).sizes(name)

    def size() -> HostSize:
        from kvmrun.host.osinfo.database import host_size

        return host_size()

    return LabHost(name=os.uname().nodename.partition(".")[0].lower(), find=find, size=size)
