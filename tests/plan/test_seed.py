"""A seed as the documents of each back end, which are golden; when it is written, and what is refused before that."""

import base64
import json
import subprocess
from collections.abc import Callable, Mapping
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any

import pytest
from support import golden
from support.packages import packaged
from support.table import each

from kvmrun.config.toml_values import Converter
from kvmrun.errors import Refused
from kvmrun.model.guest.guest import Guest
from kvmrun.model.guest.nic import Port
from kvmrun.model.network.network import Network
from kvmrun.model.paths import GuestRuntime
from kvmrun.model.scalars import GuestName, LinkName, NicName, PathBase
from kvmrun.model.seed.seed_medium import credential_names
from kvmrun.plan.host_facts import SeedFacts
from kvmrun.plan.seed.network_config import nic_configs
from kvmrun.plan.seed.seed_plan import seed_file_paths, seed_problems, seed_steps
from kvmrun.plan.seed.yaml_text import yaml_text
from kvmrun.plan.steps.guest_steps import WriteSeed

_HEAD = b"\0\0\0\x0bssh-ed25519\0\0\0\x20"
KEY, OTHER = (f"ssh-ed25519 {base64.b64encode(_HEAD + bytes([byte]) * 32).decode()}" for byte in (1, 2))
NETWORKS = {
    "lan": Network(name=NicName("lan")),
    "dmz": Network(
        name=NicName("dmz"),
        bridge=LinkName("br1"),
        subnet=IPv4Network("10.7.0.0/24"),
        dhcp=None,
        mtu=9000,
        ipv6=IPv6Network("fd00:77::/64"),
    ),
    "quiet": Network(name=NicName("quiet"), bridge=LinkName("br2"), dhcp=None, dns=None),
    "office": Network(name=NicName("office"), bridge=LinkName("br3"), external=True),
}
FULL: dict[str, object] = {
    "user": "alice",
    "ssh_keys": [f"{KEY} alice@host", "keys.pub"],
    "password_hash": "$6$salt$hash",
    "run": ["systemctl enable --now nginx", "echo 'a: b' > /root/done"],
    "timezone": "Europe/Berlin",
    "locale": "de_DE.UTF-8",
    "files": [
        {"path": "/etc/motd", "content": 'hello "you"\n\tend \\n\n'},
        {"path": "/srv/a b%c", "source": "data.bin", "mode": "0600", "owner": "alice:alice"},
    ],
}
FILES = {
    "/lab/keys.pub": f"# mine\n{OTHER}\n\n".encode(),
    "/lab/data.bin": b"\xff\x00binary",
    "/lab/doc": b"#cloud-config\n{}\n",
}


def port(network: str, number: int = 0, address: str | None = None) -> Port:
    name, bridge = f"eth{number}", NETWORKS[network].bridge
    tap, subnet = f"tap{number}", str(NETWORKS[network].subnet)
    mac = f"52:54:00:00:00:0{number}"
    return Port(name=name, network=network, bridge=bridge, tap=tap, mac=mac, address=address, subnet=subnet)


PORTS = (port("lan", 0, "192.168.0.9"), port("dmz", 1, "10.7.0.9"), port("office", 2))
PLACE = GuestRuntime(
    guest="web",
    uuid="92a4a3f6-d056-50a2-88ec-19f8e431fd00",
    directory="/run/web",
    log="/log",
    ports=PORTS,
    state="/s/web",
)
FACTS = SeedFacts(networks=NETWORKS, keys=(f"{KEY} caller",), places=("/root/.ssh",), files=FILES)


def guest(backend: str = "cloud-init", **seed: object) -> Guest:
    file = Converter("web.toml", PathBase(directory="/lab", images="/i"))
    found = file.convert(Guest, {"seed": {"backend": backend, **seed}}, name=GuestName("web"))
    assert isinstance(found, Guest), file.problems
    return found


def written(one: Guest, place: GuestRuntime = PLACE, facts: SeedFacts = FACTS) -> WriteSeed:
    (step,) = seed_steps(one, place, facts)
    return step


def documents(one: Guest, place: GuestRuntime = PLACE, facts: SeedFacts = FACTS) -> dict[str, str]:
    return {name: data.decode() for name, data in written(one, place, facts).documents}


def test_the_documents_are_the_ones_in_the_files() -> None:
    texts = {
        **documents(guest(**FULL, packages=["nginx", "curl=7"])),
        "user-data-default": documents(guest())["user-data"],
        "user-data-root": documents(guest(user="root", password_hash="$6$salt$hash"))["user-data"],
        **documents(guest("ignition", **FULL)),
        "credentials": "".join(map(readable, documents(guest("credentials", **FULL)).values())),
        "credentials-root": "".join(map(readable, documents(guest("credentials")).values())),
    }
    golden.same("seed", texts)


def test_ignition_accepts_its_document(own_directories: Path) -> None:
    """Ignition itself reads it; a key that it does not know is a warning of its."""
    program = packaged("usr/lib/dracut/modules.d/30ignition/ignition")
    if not program:
        pytest.skip("needs Ignition, which scripts/test unpacks")
    document = own_directories / "config.ign"

    def said(text: str) -> str:
        document.write_text(text)
        words = [f"-root={own_directories}", f"-config-cache={own_directories}/cache", f"-state-file={document}.state"]
        (own_directories / "cache").unlink(missing_ok=True)
        done = subprocess.run(
            [program, "-platform=file", "-stage=fetch", "-log-to-stdout", *words],
            env={"IGNITION_CONFIG_FILE": str(document)},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        return "".join(line for line in done.stdout.splitlines() if line.startswith(("WARNING", "CRITICAL")))

    text = documents(guest("ignition", **FULL))["config.ign"]
    assert said(text) == ""
    assert "grups" in said(text.replace('"groups"', '"grups"'))


def readable(credential: str) -> str:
    """A credential with its content as text."""
    name, _, value = credential.removeprefix("io.systemd.credential.binary:").partition("=")
    return f"--- {name}\n{base64.b64decode(value).decode()}\n"


def test_cloud_init_reads_what_was_meant() -> None:
    yaml = pytest.importorskip("yaml")
    found = documents(guest(**FULL, packages=["nginx"]))
    user = yaml.safe_load(found["user-data"])
    assert user["runcmd"] == ["set -e", *FULL["run"]]  # type: ignore[misc]
    assert user["write_files"][0]["content"] == 'hello "you"\n\tend \\n\n'
    assert base64.b64decode(user["write_files"][1]["content"]) == FILES["/lab/data.bin"]
    assert user["ssh_authorized_keys"] == [f"{KEY} alice@host", OTHER]
    nics = yaml.safe_load(found["network-config"])["ethernets"].values()
    assert [nic["match"]["macaddress"] for nic in nics] == [port.mac for port in PORTS]
    texts = [
        "a: b",
        "- x",
        "#no",
        "\u2028\u0085\x7f\xa0é😀",
        "'\"\\",
        " x ",
        "yes",
        "0o7",
        "a\nb\n",
        "{",
        "",
        "\ufeff\ufffe",
    ]
    for text in texts:
        assert yaml.safe_load(yaml_text({"k": [text, {"a": text}]})) == {"k": [text, {"a": text}]}, repr(text)


def test_every_nic_has_its_own_metric_and_what_its_network_gives() -> None:
    found = nic_configs((*PORTS, port("quiet", 3, "192.168.0.7"), port("lan", 4)), NETWORKS)
    assert [nic.metric for nic in found] == [100, 200, 300, 400, 500]
    assert [nic.dhcp for nic in found] == [True, False, True, False, True]
    assert [(nic.address, nic.router, nic.servers, nic.ra) for nic in found] == [
        ("", "", (), False),
        ("10.7.0.9/24", "10.7.0.254", ("10.7.0.254",), True),
        ("", "", (), False),
        ("192.168.0.7/24", "192.168.0.254", (), False),
        ("", "", (), False),
    ]
    (only6,) = nic_configs((port("dmz"),), NETWORKS)
    assert (only6.dhcp, only6.address, only6.ra) == (False, "", True)
    (odd,) = nic_configs((port("lan").replace(name="lo"),), NETWORKS)
    assert odd.name == ""


def test_a_guest_without_nics_gets_no_configuration_of_any() -> None:
    found = documents(guest(), PLACE.replace(ports=()))
    assert sorted(found) == ["meta-data", "user-data"]


def test_credentials_have_the_names_that_the_command_line_has() -> None:
    for one in (guest("credentials", **FULL), guest("credentials"), guest("credentials", user="root", run=["x"])):
        assert one.seed is not None
        assert tuple(documents(one)) == credential_names(one.seed, len(PORTS))


def test_the_instance_follows_from_the_content_and_from_whose_seed_it_is() -> None:
    same = written(guest(run=["a"])).instance
    assert written(guest(run=["a"])).instance == same
    assert written(guest(run=["a"]), facts=FACTS.replace(keys=(OTHER,))).instance == same
    others = [
        written(guest(run=["b"])),
        written(guest(run=["a"], ssh_keys=[KEY])),
        written(guest(run=["a"]), PLACE.replace(uuid="another")),
        written(guest(run=["a"]).replace(name=GuestName("clone"))),
        written(guest(run=["a"]), PLACE.replace(ports=PORTS[:1])),
        written(guest(user_data="doc")),
        written(guest(user_data="doc"), facts=FACTS.replace(files={**FILES, "/lab/doc": b"#cloud-config\n"})),
    ]
    assert len({same, *(one.instance for one in others)}) == len(others) + 1


def test_a_seed_that_is_there_is_not_written_again() -> None:
    step = written(guest())
    facts = FACTS.replace(written=step.instance, keys=())
    assert list(seed_steps(guest(), PLACE, facts)) == []
    assert [one.instance for one in seed_steps(guest(locale="C"), PLACE, facts.replace(keys=(KEY,)))] != [step.instance]


def test_a_document_of_ones_own_is_given_as_it_is() -> None:
    assert documents(guest(user_data="doc"))["user-data"] == "#cloud-config\n{}\n"
    assert "local-hostname" in documents(guest(user_data="doc"))["meta-data"]
    assert documents(guest("ignition", user_data="doc")) == {"config.ign": "#cloud-config\n{}\n"}


def test_a_configuration_of_ignition_is_whole() -> None:
    found: Any = json.loads(documents(guest("ignition", **FULL))["config.ign"])
    assert found["ignition"]["version"].startswith("3.")
    (account,) = found["passwd"]["users"]
    assert account["sshAuthorizedKeys"] == [f"{KEY} alice@host", OTHER]
    sources = {one["path"]: one["contents"]["source"] for one in found["storage"]["files"]}
    assert base64.b64decode(sources["/etc/hostname"].partition("base64,")[2]) == b"web\n"
    assert all(source.startswith("data:;base64,") for source in sources.values())
    profiles = [one for one in found["storage"]["files"] if one["path"].endswith(".nmconnection")]
    assert [one["mode"] for one in profiles] == [0o600] * 3


GONE = Refused("/lab/keys.pub cannot be read", "correct the path", reason="no such file")
REFUSED: list[tuple[Callable[[], Guest], SeedFacts, str]] = [
    (guest, FACTS.replace(keys=()), "no key to log in"),
    (lambda: guest(ssh_keys=["keys.pub"]), FACTS.replace(files={"/lab/keys.pub": GONE}), "cannot be read"),
    (lambda: guest(ssh_keys=["keys.pub"]), FACTS.replace(files={"/lab/keys.pub": b"secret\n"}), "is no public key"),
    (lambda: guest(ssh_keys=["keys.pub"]), FACTS.replace(files={"/lab/keys.pub": b""}), "is no public key"),
    (
        lambda: guest("credentials", files=[{"path": "/x", "source": "data.bin"}]),
        FACTS.replace(files={"/lab/data.bin": bytes(40_000)}),
        "too large",
    ),
]


def test_what_is_refused_before_anything_is_done() -> None:
    def check(case: tuple[Callable[[], Guest], SeedFacts, str]) -> None:
        one, facts, said = case
        with pytest.raises(Refused, match=said) as error:
            list(seed_steps(one(), PLACE, facts))
        assert "secret" not in f"{error.value.reason}{error.value.lines}"

    each(REFUSED, check)


def test_no_key_is_needed_where_there_is_another_way_in() -> None:
    none = FACTS.replace(keys=())
    for one in (guest(ssh_keys=[]), guest(user="a", password_hash="$6$a$b"), guest(user_data="doc")):
        assert written(one, facts=none).documents


def test_check_tells_of_the_files_that_a_seed_names() -> None:
    one = guest(**FULL).seed
    assert one is not None
    assert seed_file_paths(one) == ["/lab/keys.pub", "/lab/data.bin"]
    found: Mapping[str, bytes | Refused] = {"/lab/keys.pub": b"nothing", "/lab/data.bin": GONE}
    assert [problem.key for problem in seed_problems("web", one, found)] == ["seed.ssh_keys[1]", "seed.files[1].source"]
