"""A seed for systemd alone: credentials in SMBIOS strings (systemd.system-credentials(7)), applied at every boot."""

from base64 import b64encode
from collections.abc import Iterator

from kvmrun.model.seed.seed_medium import credential_names
from kvmrun.plan.seed.network_config import networkd_file
from kvmrun.plan.seed.seed_input import Documents, SeedInput, commands_unit

_SCRIPT = "/var/lib/kvmrun/seed"
_HOMES = "/home"
_ID = 1000
LIMIT = 48 << 10
"""The bytes of all strings together: the structures of SMBIOS 2 share 64 KiB."""


def documents(given: SeedInput, instance: str) -> Documents:
    """Each string as a file of its own, as QEMU reads it: no command line shows a password."""
    found = dict(_credentials(given, instance))
    return {
        name: f"io.systemd.credential.binary:{name}={b64encode(found[name]).decode()}".encode()
        for name in credential_names(given.seed, len(given.nics))
    }


def _credentials(given: SeedInput, instance: str) -> Iterator[tuple[str, bytes]]:
    seed, name = given.seed, given.seed.account()
    yield "system.hostname", given.name.encode()
    if name != "root":
        yield "sysusers.extra", f'u {name} {_ID} "{name}" {_HOMES}/{name} /bin/bash\n'.encode()
    if seed.password_hash:
        yield f"passwd.hashed-password.{name}", seed.password_hash.encode()
    yield "tmpfiles.extra", "".join(f"{line}\n" for line in _tmpfiles(given)).encode()
    for number, nic in enumerate(given.nics):
        yield f"network.network.00-kvmrun-{number}", networkd_file(nic).encode()
    if seed.run:
        unit = commands_unit(_SCRIPT, f"{_SCRIPT}.{instance}", after="systemd-tmpfiles-setup.service")
        yield "systemd.extra-unit.kvmrun-seed.service", unit.encode()
        yield "systemd.unit-dropin.multi-user.target", b"[Unit]\nWants=kvmrun-seed.service\n"


def _tmpfiles(given: SeedInput) -> Iterator[str]:
    """Lines of tmpfiles.d(5) that make what there is no credential for; an argument in base64 has the type f~."""
    seed, name = given.seed, given.seed.account()
    home = "/root" if name == "root" else f"{_HOMES}/{name}"
    if name != "root":
        yield f"d {home} 0700 {name} {name}"
        yield _file("/etc/sudoers.d/90-kvmrun-seed", f"{name} ALL=(ALL) NOPASSWD:ALL\n".encode(), "0440 root root")
    if given.keys:
        yield f"d {home}/.ssh 0700 {name} {name}"
        yield _file(
            f"{home}/.ssh/authorized_keys", "".join(f"{key}\n" for key in given.keys).encode(), f"0600 {name} {name}"
        )
    if seed.timezone:
        yield f"L+ /etc/localtime - - - - ../usr/share/zoneinfo/{seed.timezone}"
    if seed.locale:
        yield _file("/etc/locale.conf", f"LANG={seed.locale}\n".encode())
    if seed.run:
        yield _file(_SCRIPT, given.script().encode(), "0700 root root")
    for file, content in zip(seed.files, given.contents(), strict=True):
        yield _file(_quoted(file.path), content, f"{file.mode} {file.owner.user} {file.owner.group}")


def _file(path: str, content: bytes, access: str = "0644 root root") -> str:
    return f"f+~ {path} {access} - {b64encode(content).decode()}"


def _quoted(path: str) -> str:
    """A path as one word, in which percent signs stand for themselves."""
    text = path.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{text}"'
