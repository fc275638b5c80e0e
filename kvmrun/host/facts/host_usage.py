"""What the kernel counts: of every link of this network namespace in one reading, and of the host itself."""

import os

from kvmrun.model.guest.guest_usage import HostUsage, NicCount
from kvmrun.model.value import Value


class LinkCounters(Value):
    """A link as the host sees it: received is what came in from it."""

    received_bytes: int
    received_packets: int
    received_dropped: int
    sent_bytes: int
    sent_packets: int
    sent_dropped: int

    def of_guest(self, nic: str) -> NicCount:
        """The same for the NIC at the other end of the tap: what the tap sent, the guest received."""
        return NicCount(
            name=nic,
            received_bytes=self.sent_bytes,
            sent_bytes=self.received_bytes,
            received_packets=self.sent_packets,
            sent_packets=self.received_packets,
            received_dropped=self.sent_dropped,
            sent_dropped=self.received_dropped,
        )


def link_counters() -> dict[str, LinkCounters]:
    """Every link by its name. Not from sysfs, which may show another namespace."""
    with open(f"/proc/{os.getpid()}/net/dev", encoding="utf-8", errors="replace") as file:
        lines = file.read().splitlines()[2:]
    found = {}
    for line in lines:
        name, _, text = line.partition(":")
        words = [int(word) for word in text.split()]
        found[name.strip()] = LinkCounters(
            received_bytes=words[0],
            received_packets=words[1],
            received_dropped=words[3],
            sent_bytes=words[8],
            sent_packets=words[9],
            sent_dropped=words[11],
        )
    return found


def host_load() -> HostUsage:
    """The host at this moment."""
    import psutil

    times = psutil.cpu_times()
    memory = psutil.virtual_memory()
    total = sum(times) - times.guest - times.guest_nice  # which are in user and nice already
    return HostUsage(
        cpus=os.cpu_count() or 1,
        busy_s=total - times.idle - times.iowait,
        total_s=total,
        memory_bytes=memory.total,
        used_bytes=memory.total - memory.available,
    )
