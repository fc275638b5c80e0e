"""A seed for cloud-init: the files of its data source NoCloud."""

from base64 import b64encode

from kvmrun.model.seed.seed import SeedFile
from kvmrun.plan.seed.network_config import netplan
from kvmrun.plan.seed.seed_input import Documents, SeedInput
from kvmrun.plan.seed.yaml_text import yaml_text


def documents(given: SeedInput, instance: str) -> Documents:
    """The files of the medium. Without a NIC there is no network-config, and nothing to configure."""
    found = {
        "meta-data": yaml_text({"instance-id": instance, "local-hostname": given.name}).encode(),
        "user-data": _user_data(given),
    }
    if given.nics:
        found["network-config"] = yaml_text(netplan(given.nics)).encode()
    return found


def _user_data(given: SeedInput) -> bytes:
    if given.seed.user_data:
        return given.files[given.seed.user_data]
    found = _account(given) | _system(given)
    return f"#cloud-config\n{yaml_text(found) if found else '{}'}".encode()


def _account(given: SeedInput) -> dict[str, object]:
    """The account: the default one of the image by another name where one is given, so that it may use sudo."""
    seed, found = given.seed, dict[str, object]()
    password = {"hashed_passwd": str(seed.password_hash), "lock_passwd": False} if seed.password_hash else {}
    if seed.user == "root":
        found["disable_root"] = False
        if password:
            found["users"] = ["default", {"name": "root", **password}]
    elif seed.user:
        found["user"] = {"name": str(seed.user), **password}
    if given.keys:
        found["ssh_authorized_keys"] = list(given.keys)
    return found


def _system(given: SeedInput) -> dict[str, object]:
    seed, found = given.seed, dict[str, object]()
    if seed.timezone:
        found["timezone"] = str(seed.timezone)
    if seed.locale:
        found["locale"] = str(seed.locale)
    if seed.packages:
        found |= {"package_update": True, "packages": [str(one) for one in seed.packages]}
    if seed.files:
        found["write_files"] = [_file(*one) for one in zip(seed.files, given.contents(), strict=True)]
    if seed.run:
        # one shell runs all lines and would tell of the last one alone
        found["runcmd"] = ["set -e", *map(str, seed.run)]
    return found


def _file(file: SeedFile, content: bytes) -> dict[str, object]:
    found: dict[str, object] = {"path": str(file.path)}
    try:
        found["content"] = content.decode()
    except UnicodeDecodeError:
        found |= {"encoding": "b64", "content": b64encode(content).decode()}
    found |= {"permissions": str(file.mode), "owner": str(file.owner)}
    if file.owner.user != "root":
        found["defer"] = True  # until accounts and packages are there
    return found
