"""Signatures of OpenPGP, checked by gpgv against the keys of one file."""

import base64
import binascii
import os
import subprocess
import tempfile
from collections.abc import Collection

from kvmrun.errors import HostLacks, Refused, Unresponsive
from kvmrun.host.process import process
from kvmrun.model.printable import printable

_LIMIT = 30.0


def verify_signature(
    name: str, data: bytes, signature: bytes | None, *, keyring: str, fingerprints: Collection[str]
) -> bytes:
    """What was signed: `data` itself, or for a clear-signed document (without `signature`) the text within.

    Raises Refused for a wrong signature, for a key that the keyring lacks, and for one that may not sign this.
    """
    if not process.find_program("gpgv"):
        raise HostLacks("gpgv is missing, which checks signatures", "apt install gpgv")
    with tempfile.TemporaryDirectory(prefix="kvmrun-") as directory:
        files = {"keys": _binary_keys(keyring), "data": data, "signature": signature or b""}
        for file, content in files.items():
            with open(f"{directory}/{file}", "wb") as opened:
                opened.write(content)
        words = (
            [f"{directory}/signature", f"{directory}/data"]
            if signature
            else ["--output", f"{directory}/text", f"{directory}/data"]
        )
        status, said = _run_gpgv(["--homedir", directory, "--keyring", f"{directory}/keys", *words])
        _require_valid(name, status, said, keyring, fingerprints)
        if signature:
            return data
        with open(f"{directory}/text", "rb") as opened:
            return opened.read()


def _run_gpgv(words: list[str]) -> tuple[list[list[str]], tuple[str, ...]]:
    """The status lines as words, and what gpgv says to people."""
    environment = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8"}
    argv = [process.require_program("gpgv"), "--status-fd", "1", *words]
    try:
        done = subprocess.run(argv, capture_output=True, timeout=_LIMIT, check=False, env=environment)
    except subprocess.TimeoutExpired:
        raise Unresponsive(f"gpgv has not ended within {_LIMIT:.0f} s", "try again") from None
    lines = done.stdout.decode(errors="replace").splitlines()
    status = [line.split()[1:] for line in lines if line.startswith("[GNUPG:] ") and len(line.split()) > 1]
    return status, tuple(done.stderr.decode(errors="replace").splitlines()[-3:])


def _require_valid(
    name: str, status: list[list[str]], said: tuple[str, ...], keyring: str, fingerprints: Collection[str]
) -> None:
    valid = [words for words in status if words[0] == "VALIDSIG" and len(words) > 1]
    bad = any(words[0] in {"BADSIG", "ERRSIG", "EXPSIG", "EXPKEYSIG", "REVKEYSIG"} for words in status)
    wrong = any(words[0] in {"BADSIG", "REVKEYSIG"} for words in status)
    if not wrong and any({words[1], words[-1]} & set(fingerprints) for words in valid):
        return
    if valid and not bad:
        reason = f"the key {printable(valid[0][-1], 64)} is not one that the catalogue names"
        raise Refused(f"{name} is signed by another key", "do not use it", reason=reason)
    unknown = next((words[1] for words in status if words[0] == "NO_PUBKEY" and len(words) > 1), "")
    if unknown:
        fix = f"install a newer {keyring}, or name another keyring in the catalogue"
        reason = f"{keyring} does not have the key {printable(unknown, 64)}"
        raise Refused(f"the signature of {name} cannot be checked", fix, reason=reason)
    raise Refused(f"the signature of {name} is wrong", "do not use it", reason="gpgv says so", lines=said)


def _binary_keys(path: str) -> bytes:
    """The keys of a file in the binary form that gpgv reads; keyrings of RPM distributions are ASCII-armored."""
    with open(path, "rb") as file:
        data = file.read(4 << 20)
    if not data.lstrip().startswith(b"-----BEGIN PGP"):
        return data
    keys = b""
    for block in data.split(b"-----BEGIN PGP PUBLIC KEY BLOCK-----")[1:]:
        body = block.partition(b"-----END")[0].replace(b"\r\n", b"\n").partition(b"\n\n")[2]
        lines = [line for line in body.split(b"\n") if not line.startswith(b"=")]
        try:
            keys += base64.b64decode(b"".join(lines), validate=True)
        except binascii.Error:
            raise Refused(f"{path} is no keyring", "reinstall it", reason="its armor cannot be read") from None
    return keys
