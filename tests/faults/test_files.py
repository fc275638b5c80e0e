"""State files cut, flipped, replaced, of other versions: what is said comes from the kernel, and nobody is harmed."""

import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import herd
from support.builders import RECORD, guests
from support.cli import Cli
from support.tally import Tally
from support.world import until

from kvmrun.api.lab import read_definitions
from kvmrun.api.status.live_status import guest_statuses
from kvmrun.config.standard_paths import resolve_paths
from kvmrun.host import dnsmasq
from kvmrun.host.rundir import rundir
from kvmrun.model import derive
from kvmrun.plan.network import dnsmasq_config
from kvmrun.plan.steps.network_steps import StartDnsmasq

pytestmark = [pytest.mark.usefixtures("netns", "tun"), pytest.mark.timeout(3600)]
FLIPPED = "bits of state files flipped, the files replaced by other kinds"
FILES = ("vm/vm1/record", "vm/vm1/guard", "net/lan/rules", "net/lan/dnsmasq", "sysctls")


class Watched:
    """A lab with vm1, and what the list makes of it: asked in this process, by the code that the command runs."""

    def __init__(self, lab: Path, kvmrun: Cli) -> None:
        self.lab = lab
        self.kvmrun = kvmrun
        self.where = resolve_paths(str(lab), os.environ)
        self._read = read_definitions(self.where)
        self.pid = 0

    def start(self) -> None:
        self.kvmrun.ok("vm1")
        self.pid = self.kvmrun.pid("vm1")

    def verdict(self) -> None:
        """The list says what the kernel says."""
        [row] = guest_statuses(self.where, self._read)
        if self.pid:
            assert (row.state in {"running", "degraded"}, row.pid) == (True, self.pid), row
            assert row.nics[0].tap == "tap-vm1"
        else:
            assert (row.state, row.pid) == ("stopped", None), row

    def commands(self) -> None:
        """Whole commands, too: nothing is started twice or ended; what runs is told to, what does not can start."""
        for words in (("list",), ("repair", "-n"), ("net", "status"), ("show", "vm1")):
            ended = herd.run(self.lab, *words)
            assert ended.code in {0, 1}, f"{words}: exit {ended.code}: {ended.text}"
        if self.pid:
            assert herd.run(self.lab, "vm1").code == 0
            assert self.kvmrun.pid("vm1") == self.pid

    def mended(self) -> None:
        """What was harmed is written anew, and no trace of the harm is left."""
        ended = herd.run(self.lab, "repair")
        assert ended.code == 0, ended.text
        assert herd.run(self.lab, "repair", "-n").code == 0
        if self.pid:
            row = self.kvmrun.rows()["vm1"]
            assert (row["state"], row["pid"], row["problem"]) == ("running", self.pid, None)


@pytest.fixture(params=["running", "stopped"])
def watched(request: pytest.FixtureRequest, lab: Path, kvmrun: Cli, own_directories: Path) -> Iterator[Watched]:
    """With its guest running, or with the files of one that was killed."""
    guests(lab, "vm1")
    found = Watched(lab, kvmrun)
    found.start()
    if request.param == "stopped":
        os.kill(found.pid, 9)
        found.pid = 0
        until(lambda: not rundir.is_running(found.where.guest("vm1")))
    yield found
    os.environ["KVMRUN_RUN_DIR"] = str(own_directories / "run")


def test_cut_at_every_byte(tally: Tally, watched: Watched) -> None:
    row = tally.row("S-01", "state files cut at every byte, the guest running or not", 2000)
    run = Path(watched.where.run)
    files = {name: (run / name).read_bytes() for name in FILES}
    for name in FILES:
        path = run / name
        whole = files[name]
        lengths = range(len(whole)) if row.full else range(0, len(whole), max(1, len(whole) // 12))
        for length in lengths:
            with row.case(f"{name} at {length}"):
                path.write_bytes(whole[:length])
                watched.verdict()
        with row.case(f"{name}: whole commands"):
            watched.commands()
            watched.mended()
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)


KINDS: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "noise": lambda path: path.write_bytes(random.Random(5).randbytes(4096)),
    "deep": lambda path: path.write_text("[" * 60_000),
    "gone": lambda path: None,
    "fifo": os.mkfifo,
    "directory": lambda path: path.mkdir(),
    "link": lambda path: path.symlink_to("/etc/passwd"),
    "loop": lambda path: path.symlink_to(path.name),
    "sparse": lambda path: (path.write_bytes(b""), os.truncate(path, 1 << 30)),
}


def remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)


def test_replaced_by_another_kind(tally: Tally, watched: Watched) -> None:
    row = tally.row("S-02", FLIPPED, len(FILES) * len(KINDS))
    run = Path(watched.where.run)
    passwd = Path("/etc/passwd").read_bytes()
    for name in FILES:
        for kind, harm in KINDS.items():
            if not row.full and (len(kind) + len(name)) % 5:
                continue
            with row.case(f"{name}: {kind}"):
                path = run / name
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                remove(path)
                harm(path)
                watched.verdict()
                watched.commands()
                watched.mended()
                assert Path("/etc/passwd").read_bytes() == passwd


def test_bits_flipped(tally: Tally, watched: Watched) -> None:
    row = tally.row("S-02", FLIPPED, 500)
    run = Path(watched.where.run)
    dice = random.Random(7)
    whole = {name: (run / name).read_bytes() for name in FILES}
    for number in range(row.count(40)):
        name = dice.choice(FILES)
        data = bytearray(whole[name])
        at, bit = dice.randrange(len(data)), dice.randrange(8)
        data[at] ^= 1 << bit
        with row.case(f"{name}: bit {bit} of byte {at}"):
            (run / name).write_bytes(data)
            watched.verdict()
            if number % 50 == 7:
                watched.commands()
            (run / name).write_bytes(whole[name])
    watched.mended()


def _older(data: dict[str, object]) -> dict[str, object]:
    return {key: data[key] for key in ("name", "uuid", "accel", "cpus", "memory", "ports", "pid", "started", "boot")}


VERSIONS: dict[str, Callable[[dict[str, object]], dict[str, object]]] = {
    "older, with fewer fields": lambda data: {"schema": 0} | _older(data),
    "older, without a number": _older,
    "newer, with more fields": lambda data: data | {"schema": 2, "zone": {"a": [1]}, "pids": [1, 2]},
    "newer, with more in its ports": lambda data: data | {"ports": [one | {"vlan": 7} for one in data["ports"]]},  # type: ignore[attr-defined]
    "of another kind of number": lambda data: data | {"schema": "three"},
}


def test_records_of_other_versions(tally: Tally, watched: Watched) -> None:
    row = tally.row("S-05", "records written by older and newer versions", 5)
    path = Path(watched.where.guest("vm1")) / "record"
    whole = path.read_text()
    for name, change in VERSIONS.items():
        with row.case(name):
            text = json.dumps(change(json.loads(whole)))
            path.parent.mkdir(mode=0o700, exist_ok=True)
            path.write_text(text)
            watched.verdict()
            watched.commands()
            if watched.pid:
                assert rundir.read_record(str(path.parent)) is not None
                assert path.read_text() == text, "a record that is understood is left as it is"
            else:
                watched.start()
                os.kill(watched.pid, 9)
                watched.pid = 0
                until(lambda: not rundir.is_running(watched.where.guest("vm1")))


def test_a_crash_at_any_point_of_the_writing(
    tally: Tally, own_directories: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = tally.row("S-03", "the writing of a record cut short, and its parts in another order", 400)
    path = own_directories / "record"
    old, new = (RECORD.replace(uuid=derive.uuid("", "vm1"), cpus=cpus, pid=cpus) for cpus in (1, 2))
    steps: list[str] = []
    replaced = os.rename
    monkeypatch.setattr(os, "rename", lambda a, b, **_: (steps.append(Path(a).read_text()), replaced(a, b)))
    rundir.write_record(str(path), old)
    rundir.write_record(str(path), new)
    monkeypatch.undo()
    written = [json.loads(step) for step in steps]
    whole = [
        json.loads(json.dumps(one.to_json())) | {"digest": data["digest"]}
        for one, data in zip((old, new), written, strict=True)
    ]
    assert written == whole, "whole before it is in place"
    for length in range(0, len(steps[1]) + 1, 1 if row.full else 20):
        with row.case(f"{length} bytes written, not yet in place"):
            path.write_text(steps[0])
            Path(f"{path}.new").write_text(steps[1][:length])
            assert rundir.read_record(str(own_directories)) == old
        with row.case(f"in place before its data, of which {length} bytes came"):
            path.write_text(steps[1][:length])
            assert rundir.read_record(str(own_directories)) == (new if length == len(steps[1]) else None)


LEASES = """1780000000 52:54:2f:56:3e:e9 192.168.0.85 vm1 *
1780000001 52:54:66:3c:78:6e 192.168.0.157 ursa-vm2 01:52:54:66:3c:78:6e
1780000002 52:54:66:3c:78:6f 192.168.0.201 * 01:52:54:66:3c:78:6f
duid 00:01:00:01:2e:aa:bb:cc:52:54:00:12:34:56
1780000003 T123456 fd00:77::57 vm1 00:01:00:01:2e:aa:bb:cc:52:54:00:12:34:57
"""


def mutated(dice: random.Random) -> bytes:
    """A lease file that somebody, or a failing disk, has changed in one of many ways."""
    data = bytearray(LEASES.encode())
    for _ in range(dice.randint(1, 6)):
        at = dice.randrange(len(data))
        match dice.randrange(6):
            case 0:
                data[at] ^= 1 << dice.randrange(8)
            case 1:
                del data[at : at + dice.randint(1, 20)]
            case 2:
                data[at:at] = dice.randbytes(dice.randint(1, 20))
            case 3:
                data[at:at] = bytes(dice.choice(b"0123456789abcdef:.*TZ \n-") for _ in range(dice.randint(1, 30)))
            case 4:
                data[at:at] = data[: dice.randint(1, 100)]
            case 5:
                data[at:at] = b"9" * dice.choice([20, 300, 2000])
    return bytes(data)


def test_leases_of_any_kind_keep_no_names_from_being_served(
    tally: Tally, lab: Path, kvmrun: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = tally.row("S-04", "lease files cut at every byte and mutated: dnsmasq serves", len(LEASES) + 2000)
    kvmrun.ok("net", "up")
    where = resolve_paths(str(lab), os.environ)
    at = dnsmasq_config.dnsmasq_paths(where.state, "lan")
    uid, fix = derive.uid("", "net", "lan"), f"{where.network('lan')}/dnsmasq"
    log = derive.uid("", "net", "lan", "log")
    step = StartDnsmasq(
        network="lan", bridge="br0", config=at.config, leases=at.leases, log=f"{where.state}/log/net-lan", uid=uid,
        log_uid=log,
    )  # fmt: skip
    monkeypatch.setattr(dnsmasq, "_check", lambda step: None)  # of the configuration, which is the same every time
    dice = random.Random(11)
    cuts = [LEASES.encode()[:length] for length in range(len(LEASES))]
    texts = (
        [*cuts, *(mutated(dice) for _ in range(2000))]
        if row.full
        else [*cuts[::40], *(mutated(dice) for _ in range(12))]
    )
    for text in texts:
        with row.case(text[-60:]):
            Path(at.leases).write_bytes(text)
            dnsmasq.start_dnsmasq(step, fix)
            assert dnsmasq.running_pid(uid, at.config, fix)
            _reap()
    assert herd.run(lab, "net", "up").code == 0


def _reap() -> None:
    """Those that have ended: they are this process's own children here."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return
