"""What a guest may take of its host at most, QEMU and all."""

from collections.abc import Iterator

from kvmrun.model.scalars import Size
from kvmrun.model.value import Value


class Limits(Value):
    """Of the scope a guest runs in: memory with all that QEMU needs beside the guest's own, and percent of one core."""

    memory: Size | None = None
    cpu: int | None = None

    def problems(self, memory: int) -> Iterator[tuple[str, str, str]]:
        """What is wrong for a guest of that much memory, as (key, found, wanted)."""
        if self.memory is not None and self.memory <= memory:
            yield (
                "limits.memory",
                str(self.memory),
                f"larger than the memory of the guest, {Size(memory)}, because QEMU needs some for itself",
            )
        if self.cpu is not None and not 1 <= self.cpu <= 100_000:
            yield "limits.cpu", str(self.cpu), "a percentage of one core, such as 150"

    def any(self) -> bool:
        return self.memory is not None or self.cpu is not None
