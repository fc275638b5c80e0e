"""Every key of a definition and of networks.toml with what it is unless given, for the manual: read from the model."""

from kvmrun.config import draft
from kvmrun.config.networks import Networks
from kvmrun.light.abc import Iterator, Mapping
from kvmrun.light.typing import choices
from kvmrun.model.drive import Drive
from kvmrun.model.frozen import Frozen
from kvmrun.model.guest import Boot, Guest
from kvmrun.model.limits import Limits
from kvmrun.model.network import Network, Uplink
from kvmrun.model.nic import Nic

GUEST = {"": Guest, "[limits]": Limits, "[boot]": Boot, "[[drive]]": Drive, "[[nic]]": Nic}
NETWORKS = {"": Networks, "[network.NAME]": Network, "[uplink.NAME]": Uplink}


def text(tables: dict[str, type[Frozen]]) -> str:
    """The tables as one would write them; a key that is not there unless given stands behind a #."""
    return "\n".join(line for head, cls in tables.items() for line in [*(["", head] if head else []), *_keys(cls)])


def _keys(cls: type[Frozen]) -> Iterator[str]:
    """A line a key; tables are shown on their own."""
    for key, kind in cls.FIELDS.items():
        default = cls.DEFAULTS.get(key, ...)
        if (key == "name" and default is ...) or (
            key in {"boot", "limits", "drive", "nic", "network", "uplink"} and not _is_word(default)
        ):
            continue
        others = " ".join(f'"{one}"' for one in choices(kind) if one not in {"", default})
        if default is ...:
            yield draft.line((key, "", "must be given")).rstrip()
        elif default is None or isinstance(default, Frozen | Mapping) or default == "":
            yield draft.line((f"# {key}", "", others)).replace(' = ""', " =   ", 1).rstrip()
        else:
            yield draft.line((key, _plain(default), others)).rstrip()


def _is_word(value: object) -> bool:
    return isinstance(value, str) or value is None


def _plain(value: object) -> object:
    return value if isinstance(value, bool | tuple) or type(value) is int else str(value)
