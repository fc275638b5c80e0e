"""kvmrun image, and new --image: from a catalogue on loopback to a pinned, verified base that guests use."""

import base64
import gzip
import hashlib
import json
import lzma
import os
import re
import shutil
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import osinfo
from support.builders import TCG, guests
from support.cli import Cli, Run
from support.image_server import Handler, ImageServer, awaited, image_server, silent

from kvmrun.cli import main
from kvmrun.errors import KvmrunError
from kvmrun.host.images.image_store import ImageStore

MIB = 1 << 20
DIGEST = hashlib.sha256
KEY = "ssh-ed25519 " + base64.b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + bytes(32)).decode()


@pytest.fixture
def server() -> Iterator[ImageServer]:
    with image_server() as found:
        yield found


def disk(directory: Path, kind: str = "qcow2", mark: bytes = b"one") -> bytes:
    """An image of a disk with a partition table, and `mark` in it."""
    raw, made = directory / "made.raw", directory / f"made.{kind}"
    raw.write_bytes(mark.ljust(510, b"\0") + b"\x55\xaa" + bytes(MIB - 512))
    if kind == "raw":
        return raw.read_bytes()
    subprocess.run(["qemu-img", "convert", "-O", kind, raw, made], check=True)
    return made.read_bytes()


def sums(server: ImageServer, path: str, body: bytes, form: str = "{0}  {1}\n") -> None:
    """Put a file on the server, and a checksum file beside it."""
    server.answers[path] = body
    directory, _, name = path.rpartition("/")
    server.answers[f"{directory}/SHA256SUMS"] = form.format(DIGEST(body).hexdigest(), name).encode()


def catalogue(lab: Path, server: ImageServer, more: str = "", *, listed: bool = True) -> None:
    """A catalogue of the lab's own with one publisher, whose builds are dated."""
    lines = [
        "[catalogue.toy]",
        'title = "Toy"',
        f'index = "{server.url("/{codename}/")}"',
        r"build = '(\d{8})/'",
        f'url = "{server.url("/{codename}/{build}/toy-{release}.qcow2")}"',
        f'sums = "{server.url("/{codename}/{build}/SHA256SUMS")}"' if listed else "",
        'user = "toy"',
        'osinfo = "http://toy.example/toy/{release}"',
        more,
        "[catalogue.toy.releases]",
        '2 = { codename = "duck" }',
        '1 = { codename = "bear" }',
    ]
    (lab / "images.toml").write_text("\n".join(lines) + "\n")
    (lab.parent / "state/ssh").mkdir(parents=True, exist_ok=True)
    (lab.parent / "state/ssh/id_ed25519.pub").write_text(f"{KEY}\n")  # so that guests may be logged in to


@pytest.fixture
def toy(lab: Path, server: ImageServer, tmp_path: Path) -> bytes:
    """Two dated builds of a toy system; the newer one's content."""
    catalogue(lab, server)
    server.answers["/duck/"] = b'<a href="20260101/">x</a> <a href="20260305/">x</a> <a href="latest/">x</a>'
    sums(server, "/duck/20260101/toy-2.qcow2", disk(tmp_path, mark=b"old"))
    body = disk(tmp_path)
    sums(server, "/duck/20260305/toy-2.qcow2", body)
    return body


@pytest.fixture
def toy_at(lab: Path, server: ImageServer, toy: bytes) -> tuple[Path, ImageServer, bytes]:
    """The toy system with the lab that has it in its catalogue, and its publisher."""
    return lab, server, toy


def stored(lab: Path, body: bytes) -> Path:
    return lab.parent / f"state/store/sha256-{DIGEST(body).hexdigest()}.qcow2"


def test_a_system_in_one_command(lab: Path, run: Run, server: ImageServer, toy: bytes) -> None:
    assert run("new", "web", "--image", "toy:duck").code == 0
    assert stored(lab, toy).read_bytes() == toy
    assert stat.S_IMODE(stored(lab, toy).stat().st_mode) == 0o444
    text = (lab / "web.toml").read_text()
    assert 'base = "toy:2"' in text
    assert 'ssh_user = "toy"' in text
    pinned = (lab / "images.toml").read_text()
    assert '[pin."toy:2"]' in pinned
    assert f'source = "{server.url("/duck/20260305/toy-2.qcow2")}"' in pinned
    assert f'digest = "sha256:{DIGEST(toy).hexdigest()}"' in pinned
    assert 'verified = "checksum"' in pinned
    assert 'build = "20260305"' in pinned
    assert run("check").code == 0
    seed = run("show", "web", "-o", "json").json()["definition"]["seed"]
    assert (seed["user"], seed["packages"]) == ("toy", ["qemu-guest-agent"]), "the next start can wait for the seed"
    assert f'base = "{stored(lab, toy)}"' in run("show", "web").out


def test_a_guest_has_the_firmware_that_its_image_needs(lab: Path, run: Run, server: ImageServer, toy: bytes) -> None:
    catalogue(lab, server, 'firmware = "uefi"')
    assert run("new", "web", "--image", "toy:2").code == 0
    assert run("show", "web", "-o", "json").json()["definition"]["firmware"] == "uefi"


def test_a_seed_has_no_packages_where_the_image_cannot_install_them(
    lab: Path, run: Run, server: ImageServer, toy: bytes
) -> None:
    catalogue(lab, server, 'seed = "ignition"')
    assert run("new", "web", "--image", "toy:2").code == 0
    assert "packages" not in (lab / "web.toml").read_text()
    assert run("check").code == 0


def test_the_size_of_a_guest_follows_from_the_system_that_the_image_is(
    lab: Path, run: Run, toy_at: tuple[Path, ImageServer, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = osinfo.needs(osinfo.resources("recommended", 1, 3 << 28, 9 << 30))
    file = lab.parent / "db/os/toy.example/toy-2.xml"
    file.parent.mkdir(parents=True)
    file.write_text(osinfo.system("toy2", needed, identity="http://toy.example/toy/2"))
    monkeypatch.setenv("OSINFO_SYSTEM_DIR", str(lab.parent / "db"))
    assert run("new", "web", "--image", "toy:2").code == 0
    found = run("show", "web", "-o", "json").json()["definition"]
    assert (found["os"], found["memory"], found["drive"][0]["size"]) == ("toy2", 3 << 28, 9 << 30)
    assert run("new", "own", "--image", "toy:2", "--size", "5G", "--memory", "2G").code == 0
    found = run("show", "own", "-o", "json").json()["definition"]
    assert (found["memory"], found["drive"][0]["size"]) == (2 << 30, 5 << 30)


def test_the_second_guest_needs_no_byte(lab: Path, run: Run, server: ImageServer, toy: bytes) -> None:
    assert run("new", "web", "--image", "toy").code == 0
    server.asked.clear()
    server.answers.clear()
    assert run("new", "two", "--image", "toy:2").code == 0
    assert server.asked == []


def test_what_is_pinned_stays_until_update(
    lab: Path, run: Run, server: ImageServer, tmp_path: Path, toy: bytes
) -> None:
    run("image", "pull", "toy:2")
    server.answers["/duck/"] = b"20260305/ 20270101/"
    newer = disk(tmp_path, mark=b"new")
    sums(server, "/duck/20270101/toy-2.qcow2", newer)
    before = (lab / "images.toml").read_text()
    assert run("image", "pull", "toy:2").code == 0
    assert (lab / "images.toml").read_text() == before
    assert run("image", "pull", "toy:2", "--update").code == 0
    assert 'build = "20270101"' in (lab / "images.toml").read_text()
    assert stored(lab, newer).exists()
    assert stored(lab, toy).exists()


def test_the_same_lab_on_another_host(lab: Path, run: Run, server: ImageServer, toy: bytes) -> None:
    """images.toml and the definitions are all that is copied; the digest decides, whatever the publisher has now."""
    run("new", "web", "--image", "toy:2")
    subprocess.run(["rm", "-rf", lab.parent / "state"], check=True)
    server.answers["/duck/"] = b"20290101/"
    assert "kvmrun image pull" in run("up", "web", "--dry-run", "--accel", "tcg").err
    assert run("image", "pull").code == 0
    assert stored(lab, toy).read_bytes() == toy
    server.answers["/duck/20260305/toy-2.qcow2"] = b"QFI\xfb another build"
    subprocess.run(["rm", "-rf", lab.parent / "state"], check=True)
    said = run("image", "pull")
    assert (said.code, DIGEST(toy).hexdigest() in said.err) == (6, True)
    assert not stored(lab, toy).exists()


@pytest.mark.parametrize(
    ("form", "code"),
    [
        pytest.param("{0}  {1}\n", 0, id="GNU"),
        pytest.param("{0} *{1}\n", 0, id="GNU binary"),
        pytest.param("SHA256 ({1}) = {0}\n", 0, id="BSD"),
        pytest.param("{0}\n", 0, id="digest alone"),
        pytest.param("# a comment\n" + "0" * 64 + "  other.qcow2\n{0}  ./{1}\n", 0, id="several"),
        pytest.param("", 6, id="empty"),
        pytest.param("{0}  another.qcow2\n", 6, id="not listed"),
        pytest.param("{0}  {1}\n" + "0" * 64 + "  {1}\n", 6, id="contradiction"),
        pytest.param("d41d8cd98f00b204e9800998ecf8427e  {1}\n", 6, id="MD5"),
    ],
)
def test_checksum_files(toy_at: tuple[Path, ImageServer, bytes], run: Run, form: str, code: int) -> None:
    lab, server, toy = toy_at
    sums(server, "/duck/20260305/toy-2.qcow2", toy, form)
    done = run("image", "pull", "toy:2")
    assert done.code == code
    assert stored(lab, toy).exists() == (code == 0)
    assert code == 0 or "SHA256SUMS" in done.err


def test_a_wrong_digest_leaves_nothing(lab: Path, run: Run, server: ImageServer, toy: bytes) -> None:
    server.answers["/duck/20260305/toy-2.qcow2"] = toy[:-1] + b"!"
    done = run("new", "web", "--image", "toy:2")
    assert (done.code, DIGEST(toy).hexdigest() in done.err) == (6, True)
    assert not (lab / "web.toml").exists()
    assert "[pin" not in (lab / "images.toml").read_text()
    assert [path.name for path in (lab.parent / "state/store").iterdir() if not path.name.endswith(".lock")] == []


def test_what_cannot_be_verified_is_refused_or_marked(lab: Path, run: Run, server: ImageServer, toy: bytes) -> None:
    catalogue(lab, server, listed=False)
    done = run("image", "pull", "toy:2")
    assert (done.code, "--unverified" in done.err) == (6, True)
    assert run("image", "pull", "toy:2", "--unverified").code == 0
    assert 'verified = "unverified"' in (lab / "images.toml").read_text()
    (image,) = run("image", "list", "-o", "json").json()["images"]
    assert image["verified"] == "unverified"
    assert image["digest"] == f"sha256:{DIGEST(toy).hexdigest()}"


def test_words_that_mean_no_image(run: Run, toy: bytes) -> None:
    for word, fix in (
        ("debian:trixy", "did you mean debian:trixie?"),
        ("debain:13", "did you mean debian:13?"),
        ("toy:3", "one of 2, 1"),
        ("apt:Sid!", ""),
        ("toy:", ""),
        ("http://", ""),
    ):
        done = run("image", "pull", word)
        assert done.code == 2, word
        assert fix in done.err
    assert "kvmrun image list --all" in run("new", "web", "--image", "nosuch.qcow2").err


def test_an_address_with_its_digest(lab: Path, run: Run, server: ImageServer, toy: bytes) -> None:
    url = server.url("/duck/20260305/toy-2.qcow2")
    refused = run("image", "pull", url)
    assert (refused.code, "#sha256=" in refused.err) == (6, True)
    assert run("new", "web", "--image", f"{url}#sha256={DIGEST(toy).hexdigest()}").code == 0
    assert 'base = "url:toy-2"' in (lab / "web.toml").read_text()
    assert run("image", "pull", f"{url}#sha256={'0' * 64}", "--as", "mine:1").code == 6


@pytest.mark.parametrize("kind", ["raw", "vmdk", "vdi", "vhdx", "qcow2.xz", "raw.gz"])
def test_a_file_of_this_host_is_converted(lab: Path, run: Run, tmp_path: Path, kind: str) -> None:
    form, _, packed = kind.partition(".")
    body = disk(tmp_path, form)
    file = tmp_path / f"thing.{kind}"
    file.write_bytes(lzma.compress(body) if packed == "xz" else gzip.compress(body) if packed else body)
    file.chmod(0o600 if kind in {"vmdk", "raw.gz"} else 0o644)  # to its owner alone, or to everybody
    assert run("image", "import", str(file)).code == 0
    (image,) = run("image", "list", "-o", "json").json()["images"]
    assert (image["name"], image["verified"], image["disk"]) == ("local:thing", "local", MIB)
    told = subprocess.run(["qemu-img", "info", "--output=json", image["path"]], capture_output=True, check=True)
    assert json.loads(told.stdout)["format"] == "qcow2"
    back = tmp_path / "back.raw"
    subprocess.run(["qemu-img", "convert", "-O", "raw", image["path"], back], check=True)
    assert back.read_bytes() == disk(tmp_path, "raw")
    assert run("image", "verify").code == 0


def test_files_that_are_no_images(run: Run, tmp_path: Path) -> None:
    page, cd, base, over = (tmp_path / name for name in ("page.qcow2", "cd.iso", "base.qcow2", "over.qcow2"))
    page.write_bytes(b"<!doctype html>")
    cd.write_bytes(bytes(0x8001) + b"CD001")
    disk(tmp_path)
    (tmp_path / "made.qcow2").rename(base)
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", over], check=True)
    flat = tmp_path / "flat.vmdk"
    flat.write_bytes(b"# Disk DescriptorFile\nversion=1\n")
    damaged = tmp_path / "damaged.qcow2.xz"
    damaged.write_bytes(lzma.compress(base.read_bytes())[:-20])
    for file, words in (
        (page, "neither"),
        (cd, "CD-ROM"),
        (over, "consists"),
        (flat, "consists"),
        (damaged, "unpacked"),
        (tmp_path, "regular"),
    ):
        done = run("image", "import", str(file))
        assert done.code == 6, file
        assert words in done.err
    assert run("image", "list", "-o", "json").json()["images"] == []


def test_an_image_in_use_is_not_removed(lab: Path, run: Run, toy: bytes, images: Path) -> None:
    run("new", "web", "--image", "toy:2")
    done = run("image", "rm", "toy:2")
    assert (done.code, "web" in done.err) == (6, True)
    (lab / "web.toml").rename(lab / "web.off")
    over = images / "web.qcow2"
    base = stored(lab, toy)
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", over], check=True)
    done = run("image", "rm", "toy:2")
    assert (done.code, str(over) in done.err) == (0, True)
    assert run("image", "prune").out == ""
    assert base.exists()
    over.unlink()
    assert str(base) in run("image", "prune", "-n").out
    assert base.exists()
    assert str(base) in run("image", "prune").out
    assert [path.name for path in base.parent.iterdir() if not path.name.endswith(".lock")] == []


def test_what_the_store_cannot_finish_is_undone(
    lab: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise KvmrunError("cannot write")

    disk(tmp_path)
    store = lab.parent / "state/store"
    with monkeypatch.context() as patched:
        patched.setattr(ImageStore, "note", full)
        assert run("image", "import", str(tmp_path / "made.qcow2")).code == 1
    assert [path.name for path in store.iterdir() if not path.name.startswith(".")] == []
    assert run("image", "import", str(tmp_path / "made.qcow2"), "--as", "mine:1").code == 0
    with monkeypatch.context() as patched:
        patched.setattr(ImageStore, "remove", full)
        assert run("image", "rm", "mine:1").code == 1
    assert run("image", "list", "-o", "json").json()["images"][0]["name"] == "mine:1"
    assert run("image", "rm", "mine:1").code == 0


def test_another_lab_keeps_what_it_pins(lab: Path, run: Run, toy: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    other = lab.parent / "other"
    other.mkdir()
    (other / "images.toml").write_text((lab / "images.toml").read_text())
    run("image", "pull", "toy:2")
    assert main.run(["image", "pull", "-C", str(other), "toy:2"]) == 0
    capsys.readouterr()
    assert str(other) in run("image", "rm", "toy:2").err
    run("image", "prune")
    assert stored(lab, toy).exists()
    assert main.run(["image", "rm", "-C", str(other), "toy:2"]) == 0
    assert not stored(lab, toy).exists()


def test_a_changed_base_is_not_started_and_is_had_again(lab: Path, run: Run, toy: bytes) -> None:
    run("new", "web", "--image", "toy:2")
    assert run("up", "web", "--dry-run", "--accel", "tcg").code in {0, 69, 77}
    base = stored(lab, toy)
    base.chmod(0o644)
    base.write_bytes(toy[:-1] + b"!")
    done = run("up", "web", "--dry-run", "--accel", "tcg")
    assert (done.code, str(base) in done.err) == (6, True)
    done = run("check")
    assert (done.code, f"web.toml: drive[0].base: {base} " in done.out + done.err) == (5, True)
    assert run("image", "info", "toy:2").out.count("changed") == 1
    done = run("image", "verify", "toy:2")
    assert (done.code, DIGEST(base.read_bytes()).hexdigest() in done.err) == (6, True)
    assert run("image", "pull", "toy:2").code == 0
    assert base.read_bytes() == toy
    assert run("image", "verify", "toy:2").code == 0


def test_a_copy_of_the_store_is_right_by_its_content(lab: Path, run: Run, toy: bytes) -> None:
    run("image", "pull", "toy:2")
    os.utime(stored(lab, toy), (1, 1))
    assert run("image", "list", "-o", "json").json()["images"][0]["state"] == "changed"
    assert run("image", "verify").code == 0
    assert run("image", "list", "-o", "json").json()["images"][0]["state"] == "stored"


def test_a_guest_does_not_write_to_the_store(lab: Path, run: Run, toy: bytes) -> None:
    run("image", "pull", "toy:2")
    guests(lab, "web", text=f'{TCG}nic = []\n[[drive]]\nimage = "{stored(lab, toy)}"\n')
    refused = run("up", "web", "--dry-run")
    assert (refused.code, str(stored(lab, toy)) in refused.err) == (6, True)


def test_a_base_that_is_not_pinned_is_an_error_of_the_definition(lab: Path, run: Run) -> None:
    guests(lab, "web", text=f'{TCG}[[drive]]\nimage = "web.qcow2"\nbase = "debian:13"\n')
    assert "kvmrun image pull debian:13" in run("check").out


def test_a_broken_file_of_images_is_named(lab: Path, run: Run) -> None:
    (lab / "images.toml").write_text('[pin."a:1"]\nsource = "x"\ndigest = "sha256:12"\nverified = "maybe"\n')
    done = run("image", "list")
    assert (done.code, "sha256:12" in done.err) == (5, True)
    assert "images.toml" in run("check").out
    assert run("new", "images").code == 2


def test_pinning_keeps_what_a_person_wrote(lab: Path, run: Run, toy: bytes) -> None:
    path = lab / "images.toml"
    path.write_text(f"# mine\n{path.read_text()}\n# the end\n")
    before = path.read_text()
    run("image", "pull", "toy:2")
    assert path.read_text().startswith(before)
    run("image", "rm", "toy:2")
    assert path.read_text().rstrip() == before.rstrip()


def test_streams(lab: Path, run: Run, server: ImageServer, tmp_path: Path) -> None:
    body = disk(tmp_path)
    packed = lzma.compress(body)
    server.answers |= {"/releases/a/b.img": body, "/core.qcow2.xz": packed}
    item = {"path": "a/b.img", "sha256": DIGEST(body).hexdigest(), "size": len(body), "ftype": "disk1.img"}
    versions = {
        "20250101": {"items": {"disk1.img": item | {"sha256": "0" * 64}}},
        "20260101": {"items": {"disk1.img": item}},
    }
    simple = {"products": {"toy:9:amd64": {"versions": versions | {"20270101": {"items": {}}}}}}
    location = {"location": server.url("/core.qcow2.xz"), "sha256": DIGEST(packed).hexdigest()}
    qemu = {"release": "44.1", "formats": {"qcow2.xz": {"disk": location}}}
    server.answers["/releases/streams/v1/x.json"] = json.dumps(simple).encode()
    server.answers["/stable.json"] = json.dumps({"architectures": {"x86_64": {"artifacts": {"qemu": qemu}}}}).encode()
    (lab / "images.toml").write_text(
        f'[catalogue.simple]\ntitle = "S"\nurl = "{server.url("/releases/streams/v1/x.json")}"\n'
        'reader = "simplestreams"\nproduct = "toy:{release}:amd64"\nitem = "disk1.img"\n'
        "[catalogue.simple.releases]\n9 = {}\n8 = {}\n"
        f'[catalogue.core]\ntitle = "C"\nreader = "coreos"\nurl = "{server.url("/{release}.json")}"\n'
        'seed = "ignition"\n'
        "[catalogue.core.releases]\nstable = {}\n"
    )
    assert run("image", "pull", "simple:9", "core").code == 0
    text = (lab / "images.toml").read_text()
    assert 'build = "20260101"' in text
    assert 'build = "44.1"' in text
    assert 'seed = "ignition"' in text
    assert run("image", "verify").code == 0
    assert "toy:8:amd64" in run("image", "pull", "simple:8").err
    for wrong in (b"[]", b"{", b'{"products": []}', b"[" * 100_000):
        server.answers["/releases/streams/v1/x.json"] = wrong
        assert run("image", "pull", "simple:9", "--update").code == 6


@pytest.mark.skipif(not (shutil.which("gpg") and shutil.which("gpgv")), reason="needs gpg, which makes keys, and gpgv")
class TestSignatures:
    gpg: Callable[..., bytes]

    @pytest.fixture
    def key(self, tmp_path: Path) -> Callable[[str], tuple[str, Path]]:
        """Makes a key of the test's own: its fingerprint, and an armored keyring with it."""

        def make(name: str) -> tuple[str, Path]:
            gpg("--quick-generate-key", name, "ed25519", "sign", "never")
            listed = gpg("--with-colons", "--list-keys", name).decode().splitlines()
            ring = tmp_path / f"{name}.asc"
            ring.write_bytes(gpg("--armor", "--export", name))
            return next(line for line in listed if line.startswith("fpr")).split(":")[9], ring

        home = tmp_path / "gnupg"
        home.mkdir(mode=0o700)

        def gpg(*words: str) -> bytes:
            argv = [
                "gpg",
                "--homedir",
                str(home),
                "--batch",
                "--quiet",
                "--passphrase",
                "",
                "--pinentry-mode",
                "loopback",
            ]
            return subprocess.run([*argv, *words], capture_output=True, check=True).stdout

        self.gpg = gpg
        yield make
        subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=True)

    def sign(self, tmp_path: Path, name: str, data: bytes, how: str) -> bytes:
        file, signed = tmp_path / "to-sign", tmp_path / "signed"
        file.write_bytes(data)
        self.gpg("--yes", "--local-user", name, "--output", str(signed), how, str(file))
        return signed.read_bytes()

    @pytest.mark.parametrize("how", ["--clear-sign", "--detach-sign"])
    def test_a_signed_checksum_file(
        self,
        run: Run,
        tmp_path: Path,
        toy_at: tuple[Path, ImageServer, bytes],
        key: Callable[..., tuple[str, Path]],
        how: str,
    ) -> None:
        lab, server, _ = toy_at
        fingerprint, ring = key("good")
        stranger, other_ring = key("other")
        address, plain = "/duck/20260305/SHA256SUMS", server.answers["/duck/20260305/SHA256SUMS"]
        assert isinstance(plain, bytes)
        inline = how == "--clear-sign"
        place = "inline" if inline else server.url("/duck/{build}/SHA256SUMS.gpg")

        def publish(name: str, text: bytes = plain) -> None:
            signed = self.sign(tmp_path, name, plain, how)
            server.answers[address] = signed.replace(plain.strip(), text.strip()) if inline else text
            server.answers["/duck/20260305/SHA256SUMS.gpg"] = signed

        def listed(keyring: Path) -> None:
            more = f'signature = "{place}"\nkeyring = "{keyring}"\nfingerprints = ["{fingerprint}"]'
            catalogue(lab, server, more)

        publish("good")
        listed(ring)
        assert run("image", "pull", "toy:2").code == 0
        assert 'verified = "signature"' in (lab / "images.toml").read_text()
        for name, keyring, text, words in (
            ("good", ring, plain.replace(b"a", b"b"), "SHA256SUMS"),
            ("good", other_ring, plain, str(other_ring)),
            ("other", other_ring, plain, stranger),
        ):
            publish(name, text)
            listed(keyring)
            done = run("image", "pull", "toy:2")
            assert done.code == 6, (words, done)
            assert words in done.err
            assert "[pin" not in (lab / "images.toml").read_text()
        publish("other")
        listed(tmp_path / "not-installed.gpg")
        done = run("image", "pull", "toy:2")
        assert (done.code, "not-installed.gpg" in done.err) == (0, True)
        assert 'verified = "checksum"' in (lab / "images.toml").read_text()


@pytest.mark.usefixtures("_own_mounts")
def test_a_full_store_has_no_half_image(lab: Path, run: Run, server: ImageServer, tmp_path: Path) -> None:
    """Without a length nobody knows before that there is no room; the part waits until there is."""
    store = lab.parent / "state/store"
    store.mkdir(parents=True)
    body = disk(tmp_path, mark=b"one") + os.urandom(MIB)
    length = f"{len(body):x}".encode()

    def chunked(handler: Handler) -> None:
        handler.head(200, None, {"Transfer-Encoding": "chunked", "ETag": '"one"'})
        handler.wfile.write(length + b"\r\n" + body + b"\r\n0\r\n\r\n")

    server.answers["/x.qcow2"] = chunked
    word = f"{server.url('/x.qcow2')}#sha256={DIGEST(body).hexdigest()}"
    file = tmp_path / "thing.qcow2"
    file.write_bytes(body)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", store], check=True)
    try:
        for words in (("pull", word), ("import", str(file))):
            done = run("image", *words)
            assert done.code == 1
            assert "room" in done.err
            assert not list(store.glob("*.qcow2"))
        assert run("image", "list", "-o", "json").json()["images"] == []
        subprocess.run(["mount", "-o", "remount,size=8m", store], check=True)
        assert run("image", "pull", word).code == 0
        assert stored(lab, body).read_bytes() == body
    finally:
        subprocess.run(["umount", store], check=True)


def test_interrupted_and_continued(lab: Path, kvmrun: Cli, server: ImageServer, toy: bytes) -> None:
    """Ctrl-C keeps the part, and the next command asks for the rest alone."""
    path = "/duck/20260305/toy-2.qcow2"
    server.answers[path] = silent(toy, 1000)
    store = lab.parent / "state/store"
    with kvmrun.begun("image", "pull", "toy:2") as child:
        awaited(lambda: any(one.stat().st_size == 1000 for one in store.glob(".*.part")) if store.exists() else False)
        child.send_signal(2)
        assert child.wait(20) == 130
    server.answers[path] = toy
    kvmrun.ok("image", "pull", "toy:2")
    assert server.asked[-1] == (path, "bytes=1000-", '"one"')
    assert stored(lab, toy).read_bytes() == toy


def test_two_commands_share_one_download(lab: Path, kvmrun: Cli, server: ImageServer, toy: bytes) -> None:
    path = "/duck/20260305/toy-2.qcow2"
    held, go_on = threading.Event(), threading.Event()

    def slow(handler: Handler) -> None:
        held.set()
        go_on.wait(30)
        handler.serve(toy)

    server.answers[path] = slow
    with kvmrun.begun("new", "one", "--image", "toy:2") as first:
        assert held.wait(20)
        with kvmrun.begun("new", "two", "--image", "toy:2") as second:
            awaited(lambda: len([one for one in server.asked if one[0].endswith("SUMS")]) == 2)
            go_on.set()
            assert (first.wait(30), second.wait(30)) == (0, 0)
    assert [one[0] for one in server.asked].count(path) == 1
    assert sorted(one.name for one in lab.glob("*.toml")) == ["images.toml", "one.toml", "two.toml"]


def test_a_certificate_is_checked(lab: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = tmp_path / "server.pem"
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=127.0.0.1"
    made = ["openssl", *words.split(), "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", tmp_path / "key"]
    subprocess.run([*made, "-out", certificate], capture_output=True, check=True)
    certificate.write_bytes((tmp_path / "key").read_bytes() + certificate.read_bytes())
    body = disk(tmp_path)
    with image_server(certificate) as server:
        server.answers["/x.qcow2"] = body
        word = f"{server.url('/x.qcow2')}#sha256={DIGEST(body).hexdigest()}"
        done = run("image", "pull", word)
        assert (done.code, "127.0.0.1" in done.err) == (1, True)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        assert run("image", "pull", word).code == 0


def test_guests_run_from_one_base_that_stays_as_it_is(lab: Path, kvmrun: Cli, netns: None, tmp_path: Path) -> None:
    body = disk(tmp_path)
    with image_server() as here:  # in the namespace of the guests
        catalogue(lab, here)
        here.answers["/duck/"] = b"20260305/"
        sums(here, "/duck/20260305/toy-2.qcow2", body)
        for name in ("one", "two"):
            kvmrun.ok("new", name, "--image", "toy:2", "--memory", "32M")
        kvmrun.ok("up", "one", "two", "--accel", "tcg")
        rows = kvmrun.rows()
        assert {rows[name]["state"] for name in ("one", "two")} == {"running"}
        for name in ("one", "two"):
            (lab / f"{name}.toml").unlink()
        done = kvmrun("image", "rm", "toy:2")
        assert re.search(r"\b(one|two)\b", done.err)
        kvmrun("image", "prune")
        assert stored(lab, body).read_bytes() == body
