"""How a seed reaches the guest: as a CD-ROM, in the firmware's configuration, or as strings of its SMBIOS tables."""

from collections.abc import Iterator

from kvmrun.model.guest.drive import Drive
from kvmrun.model.guest.qemu_option import BootFile, Option
from kvmrun.model.scalars import FilePath
from kvmrun.model.seed.seed import Seed

ISO = "cidata.iso"
IGNITION = "config.ign"


def credential_names(seed: Seed, nics: int) -> tuple[str, ...]:
    """The credentials that a guest with so many NICs is given, in their order."""
    account = seed.account()
    return (
        "system.hostname",
        "tmpfiles.extra",
        *(("sysusers.extra",) if account != "root" else ()),
        *((f"passwd.hashed-password.{account}",) if seed.password_hash else ()),
        *(f"network.network.00-kvmrun-{number}" for number in range(nics)),
        *(("systemd.extra-unit.kvmrun-seed.service", "systemd.unit-dropin.multi-user.target") if seed.run else ()),
    )


def seed_files(seed: Seed, directory: str, nics: int) -> tuple[str, ...]:
    """The files that the guest reads its seed from."""
    match seed.backend:
        case "cloud-init":
            return (f"{directory}/{ISO}",)
        case "ignition":
            return (f"{directory}/{IGNITION}",)
        case _:
            return tuple(f"{directory}/{name}" for name in credential_names(seed, nics))


def seed_drive(seed: Seed, directory: str) -> tuple[Drive, ...]:
    """The CD-ROM in which cloud-init looks for its data, if that is the back end."""
    if seed.backend != "cloud-init":
        return ()
    return (Drive(image=FilePath(f"{directory}/{ISO}"), format="raw", media="cdrom", interface="scsi"),)


def boot_files(seed: Seed, directory: str, nics: int) -> tuple[BootFile, ...]:
    """The files that QEMU itself reads when it starts."""
    if seed.backend == "cloud-init":
        return ()
    return tuple(BootFile(path=path) for path in seed_files(seed, directory, nics))


def seed_options(seed: Seed, directory: str, nics: int) -> Iterator[Option]:
    """The options of QEMU for a seed that is no drive."""
    for file in boot_files(seed, directory, nics):
        if seed.backend == "ignition":
            yield Option(flag="fw_cfg", text="name=opt/com.coreos/config", props={"file": file})
        else:
            yield Option(flag="smbios", text="type=11", props={"path": file})
