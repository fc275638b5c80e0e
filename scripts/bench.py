"""The measurements of scripts/bench: whole commands, in turn with their rivals, medians and ratios.

All three ways start the same QEMU with the same board, memory and devices (a NIC, a source of random numbers, a port
for the agent) and a tap on the same bridge, paused; that of kvmrun has two monitors more, and its sandbox. What belongs
to a run, sockets and process numbers, all three keep in memory, as in /run.
"""

import fcntl
import json
import os
import select
import shutil
import socket
import stat
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import bench_libvirt
from bench_libvirt import virsh

WORK = Path(sys.argv[1])
QUICK = "--quick" in sys.argv
KVMRUN = str(WORK / "venv/bin/kvmrun")
PYTHON = str(WORK / "venv/bin/python")
LAB = WORK / "lab"
RUN = Path(os.environ["KVMRUN_RUN_DIR"])
SH = RUN.parent / "sh"
QEMU = shutil.which("qemu-system-x86_64") or "qemu-system-x86_64"
OPTIONS = "-cpu qemu64 -M q35 -m 16 -nodefaults -no-user-config -display none -S"

DEVICES = (
    *("-device", "virtio-net-pci,netdev=n,romfile="),
    *("-object", "rng-builtin,id=rng", "-device", "virtio-rng-pci,rng=rng"),
    *("-device", "virtio-serial-pci", "-chardev", "socket,id=a,path=AGENT,server=on,wait=off"),
    *("-device", "virtserialport,chardev=a,name=org.qemu.guest_agent.0"),
)

SHELL = """#!/bin/sh
# the plain script a launcher replaces: bridge if missing, tap, QEMU in the background
d=$1/$2 tap=sh$2
mkdir -p $d
ip link show br0 > /dev/null 2>&1 || { ip link add br0 type bridge && ip link set br0 up; }
ip tuntap add dev $tap mode tap && ip link set $tap master br0 && ip link set $tap up || exit 1
exec QEMU -daemonize -name $2 ACCEL OPTIONS -qmp unix:$d/q,server=on,wait=off -pidfile $d/pid \\
  -netdev tap,id=n,ifname=$tap,script=no,downscript=no DEVICES 2> /dev/null
"""


def main() -> None:
    accel = usable_accel()
    lab(accel)
    print(
        f"{os.uname().release}, {os.cpu_count()} cores, {version()}, accel {accel}; medians of whole commands in ms\n"
    )
    print(f"{'what':<44}{'kvmrun':>9}{'rival':>9}{'ratio':>8}{'goal':>7}")
    words()
    starts(accel)
    lists()
    farm(accel)
    libvirt(accel)


def words() -> None:
    """The commands that talk to nobody, and how much of a list is Python's own modules, which it cannot do without."""
    rounds = 10 if QUICK else 30
    define(1)
    own = "import sys; from kvmrun.cli.main import run; run(['--list']); print(*sys.modules, file=sys.stderr)"
    listed = subprocess.run(
        [PYTHON, "-c", own], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=True
    )
    library = ", ".join(
        one for one in listed.stderr.split() if not one.startswith(("kvmrun", "__main__", "sitecustomize"))
    )
    ways = [(KVMRUN, "--help"), (PYTHON, "-c", f"import {library}"), (PYTHON, "-c", "pass")]
    ours, modules, floor = in_turn([lambda words=words: run(*words) for words in ways], rounds)
    row("--help / python -c pass", ours, floor, None)
    row("Python's modules of --list / python -c pass", modules, floor, None)


def starts(accel: str) -> None:
    """One guest: kvmrun, the shell script, and QEMU with raw ioctls and nothing else."""
    rounds = 5 if QUICK else 25
    define(4)
    run(KVMRUN, "net", "up")
    script = shell_script(accel)
    ways = [
        (lambda: run(KVMRUN, "g0", "--paused"), lambda: run(KVMRUN, "kill", "-q", "g0")),
        (lambda: run(script, str(SH), "0"), lambda: end_shell(["0"])),
    ]
    times: list[list[float]] = [[], [], []]
    for turn in range(3 * rounds):  # every way comes after every other: what an end leaves to the kernel is shared out
        number = (turn + turn // 3) % 3
        time.sleep(0.05)
        if number == 2:
            times[2].append(floor_start(accel))
        else:
            times[number].append(timed(ways[number][0]))
            ways[number][1]()
    ours, shell, floor = map(statistics.median, times)
    row("start / shell script", ours, shell, 1.5)
    row("start / QEMU and raw ioctls alone", ours, floor, None)


def lists() -> None:
    """The list with 1, 10, 50 and 100 guests that live and are asked."""
    rounds = 5 if QUICK else 20
    for count, goal in ((1, None), (10, 5.5), (50, None), (100, None)):
        run(KVMRUN, "--paused", "-q", *define(count))
        listing = [lambda: run(KVMRUN, "--list"), lambda: run(PYTHON, "-c", "pass")]
        ours, floor = in_turn(listing, rounds)
        row(f"--list of {count}, piped / python -c pass", ours, floor, goal)
        if count == 10:
            table = [lambda: run(KVMRUN, "--list", "--color", "always"), listing[1]]
            ours, floor = in_turn(table, rounds)
            row("--list of 10, Rich table / python -c pass", ours, floor, None)
        if count == 100:
            resident(count)
        run(KVMRUN, "kill", "--all", "-q")


def farm(accel: str) -> None:
    """Many at once: one command against the shell script eight at a time, and stopping against QEMU's own quit."""
    script = shell_script(accel)
    for count in (1, 10) if QUICK else (1, 10, 50):
        names = define(count)
        numbers = [str(n) for n in range(count)]
        ours, shell, stops, quits = [], [], [], []
        for _ in range(7):
            ours.append(timed(lambda: run(KVMRUN, "--paused", "-q", *names)))
            stops.append(timed(lambda: run(KVMRUN, "stop", "--force", "-q", *names)))
            shell.append(timed(lambda: eight_at_a_time(script, numbers)))
            end_shell(numbers)
            run(KVMRUN, "--paused", "-q", *names)
            quits.append(timed(lambda: quit_ours(names)))
            run(KVMRUN, "stop", "--force", "-q", *names)
        goal = 1.0 if count == 50 else None
        row(f"start of {count} / shell script, 8 at a time", statistics.median(ours), statistics.median(shell), goal)
        goal = 1.5 if count == 50 else None
        row(f"stop --force of {count} / QEMU's own quit", statistics.median(stops), statistics.median(quits), goal)


def libvirt(accel: str) -> None:
    """virsh with a libvirtd of its own: the start of one guest, the list and the figures of a hundred."""
    if absent := bench_libvirt.missing():
        print(f"the rows of virsh are left out: {absent} is not installed")
        return
    rounds = 5 if QUICK else 15
    names = define(10 if QUICK else 100)
    place = WORK / "libvirt"
    with bench_libvirt.libvirtd(place):
        for name in names:
            bench_libvirt.define(name, "kvm" if accel == "kvm" else "qemu", QEMU, place)
        ours, theirs = [], []
        for _ in range(rounds):
            ours.append(timed(lambda: run(KVMRUN, "g0", "--paused")))
            run(KVMRUN, "kill", "-q", "g0")
            theirs.append(timed(virsh("start", "--paused", "g0")))
            virsh("destroy", "g0")()
        row("start / virsh start", statistics.median(ours), statistics.median(theirs), 0.30)
        run(KVMRUN, "--paused", "-q", *names)
        for name in names:
            virsh("start", "--paused", name)()
        listing = lambda: run(KVMRUN, "--list")
        for words, goal in (("list", None), ("domstats", 1.1)):
            ours, theirs = in_turn([listing, virsh(words)], rounds)
            row(f"--list of {len(names)}, piped / virsh {words}", ours, theirs, goal)
        run(KVMRUN, "kill", "--all", "-q")


def resident(count: int) -> None:
    """What is left in memory beside QEMU, by the kernel's proportional count."""
    sizes = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and str(WORK) in (text := (entry / "cmdline").read_text()) and "s6-log" in text:
                sizes.append(int((entry / "smaps_rollup").read_text().split("Pss:")[1].split()[0]))
        except OSError:
            continue
    mean = statistics.mean(sizes) / 1024
    print(f"{'resident per guest beside QEMU':<44}{mean:>6.2f} MiB, {len(sizes)} loggers for {count} guests")


def row(what: str, ours: float, rival: float, goal: float | None) -> None:
    ratio = ours / rival
    verdict = "" if goal is None else f"{goal:>7} {'met' if ratio <= goal else 'MISSED'}"
    print(f"{what:<44}{ours * 1000:>9.1f}{rival * 1000:>9.1f}{ratio:>8.2f}{verdict}", flush=True)


def in_turn(ways: list[Callable[[], None]], rounds: int) -> list[float]:
    times: list[list[float]] = [[] for _ in ways]
    for _ in range(rounds):
        for kept, way in zip(times, ways, strict=True):
            kept.append(timed(way))
    return [statistics.median(kept) for kept in times]


def timed(way: Callable[[], None]) -> float:
    began = time.perf_counter()
    way()
    return time.perf_counter() - began


def run(*words: str) -> None:
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)


def floor_start(accel: str) -> float:
    """QEMU with a passed socket and a tap by ioctl, from a warm process: until query-status is answered."""
    path = str(RUN.parent / "floor")
    began = time.perf_counter()
    server, client = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen(4)
    client.connect(path)
    tap = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tap, 0x400454CA, struct.pack("16sH22x", b"floor", 0x5002))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as at:
        fcntl.ioctl(at, 0x89A2, struct.pack("16si20x", b"br0", socket.if_nametoindex("floor")))
        fcntl.ioctl(at, 0x8914, struct.pack("16sH22x", b"floor", 1))
    words = [
        QEMU,
        "-accel",
        accel,
        *OPTIONS.split(),
        "-chardev",
        f"socket,id=m,fd={server.fileno()},server=on,wait=off",
    ]
    words += ["-mon", "chardev=m,mode=control", "-netdev", f"tap,id=n,fd={tap}", *devices(f"{path}.agent")]
    child = subprocess.Popen(words, pass_fds=(server.fileno(), tap), stderr=subprocess.DEVNULL)
    client.sendall(b'{"execute":"qmp_capabilities"}\n{"execute":"query-status"}\n')
    said = b""
    while b'"status"' not in said:
        said += client.recv(65536)
    took = time.perf_counter() - began
    child.kill()
    child.wait()
    for one in (server, client):
        one.close()
    os.close(tap)
    for left in (path, f"{path}.agent"):
        os.unlink(left)
    return took


def devices(agent: str) -> list[str]:
    """The words for the devices that all guests have, the agent's socket at `agent`."""
    return [word.replace("AGENT", agent) for word in DEVICES]


def shell_script(accel: str) -> str:
    path = WORK / "start.sh"
    words = {"QEMU": QEMU, "ACCEL": f"-accel {accel}", "OPTIONS": OPTIONS, "DEVICES": " ".join(devices("$d/a"))}
    text = SHELL
    for name, word in words.items():
        text = text.replace(name, word)
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


def eight_at_a_time(script: str, numbers: list[str]) -> None:
    text = "\n".join(numbers)
    subprocess.run(["xargs", "-P8", "-n1", script, str(SH)], input=text, text=True, check=True)


def quit_ours(names: list[str]) -> None:
    """QEMU's own quit, of the same guests: they are told, and nobody tidies up after them."""
    places = [RUN / "vm" / name for name in names]
    quit_all([json.loads((place / "record").read_text())["pid"] for place in places], [place / "q" for place in places])


def quit_all(pids: list[int], monitors: list[Path]) -> None:
    """Tell all to quit and wait until the last has."""
    waiting = [os.pidfd_open(pid) for pid in pids]
    asked = []
    for path in monitors:
        at = socket.socket(socket.AF_UNIX)
        at.connect(str(path))
        at.sendall(b'{"execute":"qmp_capabilities"}\n{"execute":"quit"}\n')
        asked.append(at)
    for fd in waiting:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        poll.poll(10_000)
        os.close(fd)
    for at in asked:
        at.close()


def end_shell(numbers: list[str]) -> None:
    running = [number for number in numbers if (SH / number / "pid").exists()]
    places = [SH / number for number in running]
    quit_all([int((place / "pid").read_text()) for place in places], [place / "q" for place in places])
    for number in numbers:
        subprocess.run(["ip", "link", "delete", f"sh{number}"], check=False, stderr=subprocess.DEVNULL)
        shutil.rmtree(SH / number, ignore_errors=True)


def usable_accel() -> str:
    """KVM where QEMU may have it, on a copy of the node with the mode that allows it; else TCG."""
    if not os.path.exists("/dev/kvm"):
        return "tcg"
    node = WORK / "kvm"
    os.mknod(node, 0o666 | stat.S_IFCHR, os.stat("/dev/kvm").st_rdev)
    os.chmod(node, 0o666)
    return "kvm" if subprocess.run(["mount", "--bind", str(node), "/dev/kvm"], check=False).returncode == 0 else "tcg"


def lab(accel: str) -> None:
    """The lab: small guests without a console."""
    LAB.mkdir()
    text = f'accel = "{accel}"\ncpu = "qemu64"\nmemory = "16M"\nconsole = false\n'
    (LAB / "defaults.toml").write_text(text)
    os.environ["KVMRUN_VMS"] = str(LAB)


def define(count: int) -> list[str]:
    """Let the lab have just the guests g0, g1, ...: `count` names. None may run."""
    names = [f"g{number}" for number in range(count)]
    for path in LAB.glob("g*.toml"):
        path.unlink()
    for name in names:
        (LAB / f"{name}.toml").touch()
    return names


def version() -> str:
    said = subprocess.run([QEMU, "--version"], capture_output=True, text=True, check=True).stdout
    return f"QEMU {said.split()[3]}, Python {sys.version.split()[0]}"


main()
