"""A small osinfo-db for tests, and ISO images that its descriptions of media fit."""

import struct
from pathlib import Path

import pytest

_PCI = "http://pcisig.com/pci"
VIRTIO = f'<device id="{_PCI}/1af4/1000"/><device id="{_PCI}/1af4/1001"/>'
OLD = f'<device id="{_PCI}/8086/100e"/>'
Q35 = '<device id="http://qemu.org/chipset/x86/q35"/>'


def resources(kind: str, cpus: object = None, ram: object = None, storage: object = None) -> str:
    """A <minimum> or <recommended> element of these numbers."""
    told = {"n-cpus": cpus, "ram": ram, "storage": storage}
    return f"<{kind}>{''.join(f'<{key}>{value}</{key}>' for key, value in told.items() if value)}</{kind}>"


def needs(*kinds: str, arch: str = "all") -> str:
    return f'<resources arch="{arch}">{"".join(kinds)}</resources>'


def media(volume: str, more: str = "", arch: str = "x86_64") -> str:
    return f'<media arch="{arch}"><iso><volume-id>{volume}</volume-id>{more}</iso></media>'


def system(name: str, body: str = "", *, identity: str = "") -> str:
    """The whole file of one operating system with that short ID."""
    where = identity or identity_of(name)
    head = f"<short-id>{name}</short-id><name>{name.title()}</name><name xml:lang='de'>Anders</name>"
    return f'<?xml version="1.0"?>\n<libosinfo version="0.0.1"><os id="{where}">{head}{body}</os></libosinfo>\n'


def identity_of(name: str) -> str:
    """The whole ID of toy12 is http://toy.org/toy/12."""
    word = name.rstrip("0123456789.")
    return f"http://toy.org/{word}/{name[len(word) :] or 'rolling'}"


def write(root: Path, name: str, text: str) -> Path:
    """Put the file of an operating system where its whole ID says."""
    word = name.rstrip("0123456789.")
    path = root / f"os/toy.org/{word}-{name[len(word) :] or 'rolling'}.xml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


GIB = 1 << 30
TOYS = {
    "toy1": needs(resources("minimum", 1, GIB // 2, 4 * GIB), resources("recommended", None, GIB, 8 * GIB))
    + f"<devices>{VIRTIO}</devices><firmware arch='x86_64' type='efi'/>"
    + media(r"Toy 1\.\d+ amd64"),
    "toy2": '<derives-from id="http://toy.org/toy/1"/>' + media(r"Toy 2\.\d+ amd64"),
    "copy2": '<clones id="http://toy.org/toy/2"/>',
    "win1": "<family>winnt</family>"
    + needs(resources("minimum", 2, 4 * GIB, 64 * GIB), arch="x86_64")
    + f"<devices>{OLD}{Q35}</devices><firmware arch='x86_64' type='efi'/>"
    + "<firmware arch='x86_64' type='bios' supported='false'/>"
    + media("^WIN1_X64", "<publisher-id>MICRO</publisher-id>"),
    "xp1": f"<devices>{OLD}</devices>" + media("^XP"),
}
"""toy2 takes everything over from toy1, and copy2 from toy2; win1 has neither BIOS nor a driver for
virtio, and xp1 none for q35 either."""


def toys(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A database of these systems, which kvmrun finds as that of the host."""
    for name, body in TOYS.items():
        write(root, name, system(name, body))
    monkeypatch.setenv("OSINFO_SYSTEM_DIR", str(root))
    return root


def iso(path: Path, volume: str, *, publisher: str = "", application: str = "", blocks: int = 400) -> Path:
    """An image of a CD-ROM with nothing but its volume descriptors."""
    primary = bytearray(2048)
    primary[:7] = b"\1CD001\1"
    primary[8:40] = b"LINUX".ljust(32)
    primary[40:72] = volume.encode().ljust(32)
    struct.pack_into("<I", primary, 80, blocks)
    struct.pack_into("<H", primary, 128, 2048)
    primary[318:446] = publisher.encode().ljust(128)
    primary[574:702] = application.encode().ljust(128)
    path.write_bytes(bytes(16 * 2048) + primary + b"\xffCD001\1".ljust(2048, b"\0"))
    return path
