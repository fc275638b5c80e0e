"""The seed of a guest: what its keys may be, and how it reaches the guest."""

import base64
from collections.abc import Callable
from typing import Any

from support.table import each

from kvmrun.model.guest.qemu_option import argv
from kvmrun.model.scalars import PathBase
from kvmrun.model.seed import seed_medium
from kvmrun.model.seed.seed import Seed, SeedFile
from kvmrun.model.seed.seed_values import (
    AccountName,
    FileMode,
    FileOwner,
    GuestPath,
    LabFile,
    LocaleName,
    PackageName,
    PublicKey,
    ShellCommand,
    Text,
    TimeZone,
    is_public_key,
)

BASE = PathBase(directory="/lab", images="/images")
KEY = "ssh-ed25519 " + base64.b64encode(b"\0\0\0\x0bssh-ed25519" + b"\0\0\0\x20" + bytes(32)).decode()
HASH = "$6$salt$" + "x" * 86


def taken(kind: Any, raw: object) -> str | None:
    """What a value becomes; None where it is refused."""
    try:
        return str(kind.parse(raw, BASE))
    except ValueError:
        return None


GOOD: list[tuple[Any, object, str]] = [
    (AccountName, "alice", "alice"),
    (AccountName, "_svc-1", "_svc-1"),
    (LabFile, "user-data", "/lab/user-data"),
    (LabFile, "../x", "/x"),
    (PublicKey, f"{KEY} me@host", f"{KEY} me@host"),
    (PublicKey, "keys/me.pub", "/lab/keys/me.pub"),
    (Text, "a\n\tb", "a\n\tb"),
    (Text, "", ""),
    (ShellCommand, "echo a\necho b", "echo a\necho b"),
    (PackageName, "nginx=1.2-3", "nginx=1.2-3"),
    (PackageName, "@development-tools", "@development-tools"),
    (TimeZone, "America/Argentina/Buenos_Aires", "America/Argentina/Buenos_Aires"),
    (LocaleName, "de_DE.UTF-8", "de_DE.UTF-8"),
    (LocaleName, "sr_RS@latin", "sr_RS@latin"),
    (GuestPath, "/etc/a b", "/etc/a b"),
    (FileMode, "0644", "0644"),
    (FileMode, "600", "600"),
    (FileOwner, "www-data", "www-data:www-data"),
    (FileOwner, "a:b", "a:b"),
]
BAD: list[tuple[Any, object]] = [
    *((AccountName, raw) for raw in ("", "Alice", "a b", "1st", "-x", "a:b", "x" * 33, "a\n", 5)),
    *(
        (PublicKey, raw)
        for raw in ("ssh-ed25519 AAAA", f"{KEY}\nssh-rsa x", "", 5, f"{KEY} a\x1b[2J", "ssh-rsa " + KEY[12:])
    ),
    *((Text, raw) for raw in ("a\0b", "a\x1b", 5, "a\rb")),
    *((ShellCommand, raw) for raw in ("", "  \n", "a\0")),
    *((PackageName, raw) for raw in ("", "-y", "a b", "a;b", "$(x)")),
    *((TimeZone, raw) for raw in ("", "/etc/passwd", "../../etc/passwd", "a b", "Europe/Ber\nlin")),
    *((LocaleName, raw) for raw in ("", "de DE", "-x", "a\n")),
    *((GuestPath, raw) for raw in ("", "/", "etc", "/etc/", "/etc/../x", "//etc", "/a\nb", "/etc//x")),
    *((FileMode, raw) for raw in ("", "08", "999", "07777 ", "12345", 644)),
    *((FileOwner, raw) for raw in ("", ":", "a:b:c", "a b")),
]


def test_values() -> None:
    each(GOOD, lambda case: same(taken(case[0], case[1]), case[2]))
    each(BAD, lambda case: same(taken(*case), None))


def same(found: object, wanted: object) -> None:
    assert found == wanted


def test_a_key_is_its_own_type_in_base64() -> None:
    assert is_public_key(f"{KEY} comment with blanks")
    assert is_public_key(KEY)
    for line in (
        "",
        KEY[:40],
        "ssh-ed25519 !!!",
        f"from=x {KEY}",
        f"ecdsa-sha2-nistp256 {KEY.split()[1]}",
        "-----BEGIN",
    ):
        assert not is_public_key(line), line


def seed(**given: object) -> Seed:
    return Seed(**{"backend": "cloud-init", **given})  # type: ignore[arg-type]


def file(path: str, **given: object) -> SeedFile:
    return SeedFile(path=GuestPath(path), **given)  # type: ignore[arg-type]


def keys(one: Seed, machine: str = "q35") -> list[str]:
    return [key for key, _, _ in one.problems(machine)]


PROBLEMS: list[tuple[Callable[[], Seed], list[str]]] = [
    (lambda: seed(user="a", password_hash=HASH, packages=("x",), run=("y",)), []),
    (lambda: seed(backend="ignition", packages=("x",)), ["packages"]),
    (lambda: seed(backend="ignition", user_data="/x"), []),
    (lambda: seed(backend="credentials", packages=("x",), user_data="/x"), ["packages", "user_data", "packages"]),
    (lambda: seed(user_data="/x", ssh_keys=(), run=("y",)), ["run"]),
    (lambda: seed(user_data="/x", user="a", locale="C"), ["user", "locale"]),
    (lambda: seed(user="a", password_hash="hunter2"), ["password_hash"]),
    (lambda: seed(password_hash=HASH), ["user"]),
    (lambda: seed(files=(file("/a"),)), ["files[0]"]),
    (lambda: seed(files=(file("/a", content="", source="/b"),)), ["files[0]"]),
    (lambda: seed(files=(file("/a", content=""), file("/a", content="x"))), ["files[1].path"]),
]


def test_what_does_not_go_together() -> None:
    each(PROBLEMS, lambda case: same(keys(case[0]()), case[1]))
    assert keys(seed(backend="credentials"), "microvm") == ["backend"]


def test_a_password_is_never_repeated() -> None:
    assert "hunter2" not in str([*seed(user="a", password_hash="hunter2").problems("q35")])


def test_a_seed_reaches_the_guest_by_its_back_end() -> None:
    medium = seed_medium.seed_drive(seed(), "/s")
    assert [(one.image, one.media, one.is_readonly()) for one in medium] == [("/s/cidata.iso", "cdrom", True)]
    assert list(seed_medium.seed_options(seed(), "/s", 1)) == []
    ignition = seed(backend="ignition")
    assert seed_medium.seed_drive(ignition, "/s") == ()
    assert argv(seed_medium.seed_options(ignition, "/s", 1), None) == [
        ("-fw_cfg", "name=opt/com.coreos/config,file=/s/config.ign")
    ]
    strings = argv(seed_medium.seed_options(seed(backend="credentials", run=("x",)), "/s", 2), None)
    assert strings[0] == ("-smbios", "type=11,path=/s/system.hostname")
    assert len(strings) == 6
