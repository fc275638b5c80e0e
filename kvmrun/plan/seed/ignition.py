"""A seed for Ignition: one document of its specification 3.

https://coreos.github.io/ignition/configuration-v3_3/
"""

import json
from base64 import b64encode

from kvmrun.model.seed.seed import SeedFile
from kvmrun.plan.seed.network_config import keyfile
from kvmrun.plan.seed.seed_input import Documents, SeedInput, commands_unit

_GROUPS = ["sudo", "wheel"]
_SCRIPT, _DONE = "/usr/local/libexec/kvmrun-seed", "/var/lib/kvmrun-seed"
_INSTALL = "[Install]\nWantedBy=multi-user.target\n"


def documents(given: SeedInput, _instance: str) -> Documents:
    """The configuration, which Ignition reads at the first boot and never again."""
    if given.seed.user_data:
        return {"config.ign": given.files[given.seed.user_data]}
    found: dict[str, object] = {"ignition": {"version": "3.3.0"}, "passwd": {"users": [_account(given)]}}
    found["storage"] = {"files": _files(given)} | _links(given)
    if given.seed.run:
        unit = {"name": "kvmrun-seed.service", "enabled": True, "contents": commands_unit(_SCRIPT, _DONE) + _INSTALL}
        found["systemd"] = {"units": [unit]}
    return {"config.ign": f"{json.dumps(found, indent=2, sort_keys=True)}\n".encode()}


def _account(given: SeedInput) -> dict[str, object]:
    name = given.seed.account()
    found: dict[str, object] = {"name": str(name), "sshAuthorizedKeys": list(given.keys)}
    if name not in {"root", "core"}:  # the image has these
        found["groups"] = _GROUPS
    if given.seed.password_hash:
        found["passwordHash"] = str(given.seed.password_hash)
    return found


def _files(given: SeedInput) -> list[dict[str, object]]:
    found = [_file("/etc/hostname", f"{given.name}\n".encode())]
    for number, nic in enumerate(given.nics):
        name = nic.name or f"nic{number}"
        path = f"/etc/NetworkManager/system-connections/{name}.nmconnection"
        found.append(_file(path, keyfile(nic, name).encode(), mode=0o600))
    if given.seed.locale:
        found.append(_file("/etc/locale.conf", f"LANG={given.seed.locale}\n".encode()))
    if given.seed.run:
        found.append(_file(_SCRIPT, given.script().encode(), mode=0o700))
    return [*found, *(_given_file(*one) for one in zip(given.seed.files, given.contents(), strict=True))]


def _links(given: SeedInput) -> dict[str, object]:
    if not given.seed.timezone:
        return {}
    target = f"/usr/share/zoneinfo/{given.seed.timezone}"
    return {"links": [{"path": "/etc/localtime", "target": target, "overwrite": True}]}


def _file(path: str, content: bytes, mode: int = 0o644) -> dict[str, object]:
    source = f"data:;base64,{b64encode(content).decode()}"
    return {"path": path, "mode": mode, "overwrite": True, "contents": {"source": source}}


def _given_file(file: SeedFile, content: bytes) -> dict[str, object]:
    owner = {"user": {"name": file.owner.user}, "group": {"name": file.owner.group}}
    return _file(str(file.path), content, int(file.mode, 8)) | owner
