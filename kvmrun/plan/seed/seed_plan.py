"""The seed of one guest: what is written before it starts, and what is refused because it cannot be made."""

from collections.abc import Iterator, Mapping

from kvmrun.errors import Refused
from kvmrun.model import derive
from kvmrun.model.guest.guest import Guest
from kvmrun.model.lab import Problem
from kvmrun.model.paths import GuestRuntime
from kvmrun.model.seed.seed import Seed
from kvmrun.model.seed.seed_values import is_public_key
from kvmrun.plan.host_facts import SeedFacts
from kvmrun.plan.seed import cloud_init, credentials, ignition
from kvmrun.plan.seed.network_config import nic_configs
from kvmrun.plan.seed.seed_input import Documents, SeedInput
from kvmrun.plan.steps.guest_steps import WriteSeed

_MAKERS = {"cloud-init": cloud_init.documents, "ignition": ignition.documents, "credentials": credentials.documents}
_NO_KEYS = "it has no password either, so nobody could log in"


def seed_steps(guest: Guest, runtime: GuestRuntime, facts: SeedFacts) -> Iterator[WriteSeed]:
    """Writing the seed, unless the one that is there is the same. Raises Refused for one that cannot be made.

    The instance ID, by which cloud-init knows that the seed is another one, follows from the content and from the name
    and the UUID of the guest, but not from keys that are taken from the caller: another caller does not set the
    guest up again.
    """
    if guest.seed is None:
        return
    given = _input(guest, guest.seed, runtime, facts)
    instance = f"{guest.name}-{_digest(given)}"
    if facts.written == instance:
        return
    if guest.seed.ssh_keys is None and not guest.seed.user_data:
        if not facts.keys and not guest.seed.password_hash:
            raise _no_keys(guest.name, facts)
        given = given.replace(keys=facts.keys)
    documents = _MAKERS[f"{guest.seed.backend}"](given, instance)
    _fits(guest, guest.seed, documents)
    yield WriteSeed(
        directory=runtime.seed,
        instance=instance,
        documents=tuple(documents.items()),
        iso=guest.seed.backend == "cloud-init",
    )


def seed_problems(name: str, seed: Seed, files: Mapping[str, bytes | Refused]) -> Iterator[Problem]:
    """What is wrong with the files that the seed of a guest names; `files` has what is in them."""
    for key, path in _named_files(seed):
        error = found if isinstance(found := files[path], Refused) else None
        if isinstance(found, bytes) and key.startswith("ssh_keys"):
            try:
                _keys_in(path, found)
            except Refused as no:
                error = no
        if error:
            text = f"{error.message}: {'; '.join(filter(None, (error.reason, *error.lines, error.fix)))}"
            yield Problem(file=f"{name}.toml", key=f"seed.{key}", found=path, wanted=error.fix, text=text)


def _input(guest: Guest, seed: Seed, runtime: GuestRuntime, facts: SeedFacts) -> SeedInput:
    """What the seed is made from, without the caller's keys. Raises Refused for a file that cannot be used."""
    contents: dict[str, bytes] = {}
    for _, path in _named_files(seed):
        found = facts.files[path]
        if isinstance(found, Refused):
            message = f"the seed of {guest.name} cannot be made: {found.message}"
            raise Refused(message, found.fix, reason=found.reason, lines=found.lines)
        contents[path] = found
    keys = (key for one in seed.ssh_keys or () for key in (_keys_in(one, contents[one]) if one.path else (one,)))
    return SeedInput(
        name=guest.name,
        uuid=runtime.uuid,
        seed=seed,
        nics=nic_configs(runtime.ports, facts.networks),
        keys=tuple(dict.fromkeys(keys)),
        files=contents,
    )


def _named_files(seed: Seed) -> Iterator[tuple[str, str]]:
    """(key, path) of every file of the host that the seed names."""
    for number, one in enumerate(seed.ssh_keys or ()):
        if one.path:
            yield f"ssh_keys[{number}]", one.path
    for number, file in enumerate(seed.files):
        if file.source:
            yield f"files[{number}].source", file.source
    if seed.user_data:
        yield "user_data", seed.user_data


def seed_file_paths(seed: Seed) -> list[str]:
    """The files of the host that the seed names."""
    return list(dict.fromkeys(path for _, path in _named_files(seed)))


def _keys_in(path: str, data: bytes) -> list[str]:
    """The public keys in a file such as authorized_keys. Raises Refused for one that has something else, or none."""
    found = [line.strip() for line in data.decode(errors="replace").splitlines()]
    found = [line for line in found if line and not line.startswith("#")]
    if not found or not all(map(is_public_key, found)):  # never what is in it: it may be the private one
        fix = "name the .pub file beside it" if not path.endswith(".pub") else "name another file"
        raise Refused(f"{path} is no public key", fix, reason="each line must be a public key of SSH")
    return found


def _digest(given: SeedInput) -> str:
    documents = _MAKERS[f"{given.seed.backend}"](given, "")
    whole = [given.name, given.uuid, *(f"{name}\0{data.hex()}" for name, data in documents.items())]
    return derive.digest("\0".join(whole))[:16]


def _no_keys(name: str, facts: SeedFacts) -> Refused:
    fix = f"ssh-keygen -t ed25519 makes one; or ssh_keys = […] in [seed] of {name}.toml, which may be empty"
    return Refused(
        f"{name} would have no key to log in with",
        fix,
        reason=f"{' and '.join(facts.places)} have none, and {_NO_KEYS}",
    )


def _fits(guest: Guest, seed: Seed, documents: Documents) -> None:
    size = sum(map(len, documents.values()))
    if seed.backend == "credentials" and size > credentials.LIMIT:
        reason = f"it has {size} bytes, and SMBIOS tables have room for {credentials.LIMIT}"
        raise Refused(f"the seed of {guest.name} is too large", "give it fewer or smaller files", reason=reason)
