"""When a command is to be over: one value, made from --timeout when the command begins, handed to all that waits."""

import time

from kvmrun.model.frozen import Frozen


class Deadline(Frozen):
    """The moment `limit` seconds after `began`; without a limit there is none, and every wait has its usual one."""

    limit: float | None = None
    began: float = 0.0

    @classmethod
    def begin(cls, limit: float | None) -> "Deadline":
        """The deadline of a command that begins now."""
        return cls(limit=limit, began=time.monotonic())

    def left(self, usual: float) -> float:
        """How many seconds a wait may take that takes `usual` seconds at most where no limit is given."""
        return usual if self.limit is None else max(0.0, min(usual, self._rest()))

    def granted(self, usual: float) -> float:
        """All the seconds that are left, `usual` ones where no limit is given: for what a limit may make longer."""
        return usual if self.limit is None else max(0.0, self._rest())

    def is_over(self) -> bool:
        return self.limit is not None and self._rest() <= 0

    def _rest(self) -> float:
        assert self.limit is not None
        return self.began + self.limit - time.monotonic()


NEVER = Deadline()
"""That of a command without --timeout."""
