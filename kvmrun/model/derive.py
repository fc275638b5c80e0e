"""What follows from names alone: MACs, UUIDs, uids, taps and addresses. Never random, the same on every host."""

from hashlib import blake2b, sha1

_NAMESPACE = bytes.fromhex("6b766d72756e4d8a9c0e5b3f1d2a7c64")
"""The namespace of our version 5 UUIDs. Fixed for good: changing it would rename every guest."""
LINK_NAME_LIMIT = 15


def mac(seed: str, *words: str) -> str:
    """A MAC below 52:54 for ("GUEST", "NIC"), or ("bridge", "BRIDGE") for the bridge itself."""
    digest = blake2b("\0".join(("mac", *words)).encode(), key=seed.encode()[:64], digest_size=4).digest()
    return "52:54:" + digest.hex(":")


def uuid(seed: str, guest: str) -> str:
    """The guest's UUID, version 5 (RFC 9562) of seed and name."""
    raw = bytearray(sha1(_NAMESPACE + f"{seed}\0{guest}".encode(), usedforsecurity=False).digest()[:16])
    raw[6] = raw[6] & 0x0F | 0x50
    raw[8] = raw[8] & 0x3F | 0x80
    text = raw.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def uid(seed: str, *words: str) -> int:
    """An account nobody hands out (0x70000000 and 27 bits more) for ("GUEST",) or ("GUEST", "log")."""
    digest = blake2b("\0".join(("uid", *words)).encode(), key=seed.encode()[:64], digest_size=4).digest()
    return 0x70000000 + (int.from_bytes(digest) & 0x07FFFFFF)


def tap(guest: str, nic: str, *, first: bool) -> str:
    """The tap's name; one too long for the kernel keeps its readable start and five digits of a digest."""
    full = f"tap-{guest}" if first else f"tap-{guest}-{nic}"
    if len(full) <= LINK_NAME_LIMIT:
        return full
    return f"{full[: LINK_NAME_LIMIT - 6]}~{blake2b(full.encode(), digest_size=3).hexdigest()[:5]}"


def link_local(mac: str) -> str:
    """The IPv6 address the kernel gives a link with that MAC by itself (RFC 4291, appendix A)."""
    raw = bytes.fromhex(mac.replace(":", ""))
    halves = bytes((raw[0] ^ 2, raw[1], raw[2], 0xFF, 0xFE, *raw[3:])).hex()
    return "fe80::" + ":".join(halves[place : place + 4] for place in range(0, 16, 4))


def address_offset(seed: str, guest: str, nic: str) -> int:
    """Where in its subnet the search for the guest's address begins."""
    return int.from_bytes(blake2b(f"address\0{guest}\0{nic}".encode(), key=seed.encode()[:64], digest_size=4).digest())


def routing_table_id(uplink: str) -> int:
    """The routing table of an uplink that names none: far above those that people number by hand."""
    return 0x6B760000 + int.from_bytes(blake2b(f"table\0{uplink}".encode(), digest_size=2).digest())


def digest(text: str) -> str:
    """A short name for a text: to know later whether it is still the same."""
    return blake2b(text.encode(), digest_size=16).hexdigest()


def digester() -> blake2b:
    """The same for a text that comes in pieces."""
    return blake2b(digest_size=16)
