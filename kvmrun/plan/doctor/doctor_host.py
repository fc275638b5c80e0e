"""What the facts of this machine mean for guests: KVM, QEMU, devices, programs, memory, room and boot."""

import os
from collections.abc import Iterator

from kvmrun.model.finding import Finding, ok, problem, warning
from kvmrun.model.lab import Lab
from kvmrun.plan.doctor.doctor_facts_model import BootTest, MachineFacts

OLDEST_QEMU = (7, 2)
_SCARCE = 1 << 30
_FIX_KVM = "groupadd -rf kvm; chgrp kvm /dev/kvm; chmod 660 /dev/kvm"


def machine_findings(lab: Lab, now: MachineFacts) -> Iterator[Finding]:
    """Everything but the networks."""
    if now.lacking:
        fix = "give them to the container or service it runs in"
        yield problem("root", f"root lacks {now.lacking} here: it can neither see nor change all that is needed", fix)
    yield _kvm(lab, now)
    yield _qemu(now)
    yield _tun(now)
    if now.vhost:
        yield ok("vhost", "the kernel moves guests' packets itself (vhost)")
    else:
        text = "no /dev/vhost-net: guests' packets go through QEMU, which is slower"
        yield warning("vhost", text, "modprobe vhost_net")
    yield from _programs(lab, now)
    yield from _firmware(now)
    yield _memory(lab, now)
    yield _state(now)
    yield _boot(lab, now)
    if now.root and now.exposed:
        text = f"{now.exposed} loads, as root, what the caller's PYTHON* variables and home directory name"
        yield warning("python", text, f"sed -i '1s/$/ -I/' {now.exposed}")


def _kvm(lab: Lab, now: MachineFacts) -> Finding:
    """Guests that ask for KVM need it; where all are emulated it is only a pity."""
    say = problem if guests_using_kvm(lab) or not lab.guests else warning
    emulate = f'accel = "tcg" in {now.vms}/defaults.toml'
    if now.kvm == "absent":
        if now.extension:
            return say("kvm", "there is no /dev/kvm", f"modprobe {now.extension}")
        text = "there is no /dev/kvm, and the processor shows no virtualisation: it may be off in the firmware"
        return say("kvm", text, f"switch VT-x or AMD-V on; or emulate: {emulate}")
    if now.kvm == "forbidden":
        return say("kvm", f"guests may not open /dev/kvm ({now.kvm_mode})", _permit(now))
    return _tried(lab, now, emulate)


def _permit(now: MachineFacts) -> str:
    """Root's guests get the group of /dev/kvm; a user must be in it."""
    if now.root:
        return _FIX_KVM
    group = now.kvm_mode.partition(":")[2].partition(" ")[0]
    if group in {"", "root"} or not now.kvm_mode.endswith(("60", "66")):
        return f"sudo sh -c '{_FIX_KVM}' && sudo usermod -aG kvm $USER && newgrp kvm"
    return f"sudo usermod -aG {group} $USER && newgrp {group}"


def _tried(lab: Lab, now: MachineFacts, emulate: str) -> Finding:
    good = [one for one in now.trials if one.worked]
    bad = [one for one in now.trials if not one.worked]
    if not now.trials and lab.guests and not guests_using_kvm(lab):
        return ok("kvm", "not tried: no guest of the lab asks for it")
    if not now.trials:
        return warning("kvm", "/dev/kvm is there, but there is no QEMU to try it with", "apt install qemu-system-x86")
    if not good:
        say = problem if guests_using_kvm(lab) or not lab.guests else warning
        return say("kvm", f"KVM is there but runs no guest: {'; '.join(map(_failed, bad))}", f"emulate: {emulate}")
    well = f"KVM boots a small guest with -cpu {good[0].cpu} in {good[0].seconds:.1f} s"
    if not bad:
        return ok("kvm", well)
    those = guests_using_kvm(lab, bad[0].cpu)
    if lab.guests and not those:
        return ok("kvm", f"{well}; no guest asks for -cpu {bad[0].cpu}, which it refuses")
    say = problem if those else warning
    who = f", which {', '.join(those)} would have" if those else ""
    fix = f'cpu = "{good[0].cpu}" in {now.vms}/defaults.toml'
    return say("kvm", f"KVM refuses -cpu {bad[0].cpu}{who} ({bad[0].reason}); {well}", fix)


def guests_using_kvm(lab: Lab, cpu: str = "") -> list[str]:
    """The guests that ask for KVM, and for that CPU model if one is given."""
    return [name for name, one in lab.guests.items() if one.accel == "kvm" and cpu in {"", one.cpu_model()}]


def _failed(trial: BootTest) -> str:
    return f"-cpu {trial.cpu}: {trial.reason}"


def _qemu(now: MachineFacts) -> Finding:
    install = "unset KVMRUN_QEMU" if now.qemu_given else "apt install qemu-system-x86"
    if not now.qemu:
        return problem("qemu", "there is no QEMU", install)
    if not now.qemu_version:
        return problem("qemu", f"{now.qemu} does not tell its version: {now.qemu_says or 'it says nothing'}", install)
    version = ".".join(map(str, now.qemu_version))
    if now.qemu_version < OLDEST_QEMU:
        return problem("qemu", f"QEMU {version} is too old ({now.qemu}): 7.2 is the oldest that works", install)
    return ok("qemu", f"QEMU {version} ({now.qemu})")


def _tun(now: MachineFacts) -> Finding:
    if now.tun == "absent":
        return problem("tun", "there is no /dev/net/tun: guests have no network", "modprobe tun")
    if now.tun == "forbidden":
        return problem("tun", "you may not open /dev/net/tun", "sudo chmod 666 /dev/net/tun")
    return ok("tun", "taps can be made")


def _programs(lab: Lab, now: MachineFacts) -> Iterator[Finding]:
    """Programs that some start needs; one that only this lab does without is a warning."""
    optional = {
        "qemu-img": not any(guest.drive for guest in lab.guests.values()),
        "nft": lab.firewall != "nftables",
        "dnsmasq": not any(network.needs_dnsmasq() for network in lab.networks.values()),
    }
    missing = dict(now.missing)
    if not any(guest.tpm for guest in lab.guests.values()):
        missing.pop("swtpm", None)
    for name, fix in missing.items():
        say = warning if optional.get(name) else problem
        yield say("programs", f"{name} is not installed", fix)
    if not missing:
        yield ok("programs", "every program that is needed is installed")


def _firmware(now: MachineFacts) -> Iterator[Finding]:
    """The firmware of guests with UEFI; nothing where no guest asks for it."""
    for error in filter(None, now.firmware.values()):
        yield problem("firmware", f"{error.message}: {error.reason}", error.fix)
    if now.firmware and not any(now.firmware.values()):
        yield ok("firmware", f"there is UEFI firmware for {', '.join(now.firmware)}")
    for path, reason in now.bad_descriptors.items():
        text = f"{path} is no descriptor of firmware, and is passed over: {reason}"
        yield warning("firmware", text, f"correct it, or move it out of {os.path.dirname(path)}")


def _memory(lab: Lab, now: MachineFacts) -> Finding:
    wanted = {name: int(guest.memory) for name, guest in lab.guests.items()}
    text = f"{_size(now.available)} of {_size(now.memory)} free; the lab's guests ask for {_size(sum(wanted.values()))}"
    largest = max(wanted, key=lambda name: wanted[name], default="")
    if wanted and wanted[largest] > now.memory:
        fix = f'memory = "{_size(now.memory // 2)}" in {now.vms}/{largest}.toml'
        return problem("memory", f"{largest} asks for more than the host has: {text}", fix)
    if sum(wanted.values()) > now.available:
        return warning(
            "memory", f"not all guests fit at once: {text}", "less memory = in their files, or fewer of them"
        )
    return ok("memory", text)


def _state(now: MachineFacts) -> Finding:
    if not now.state_writable:
        fix = "export KVMRUN_STATE_DIR=/var/lib/kvmrun" if now.root else "export KVMRUN_STATE_DIR=$HOME/kvmrun"
        return problem("state", f"{now.state} cannot be written", fix)
    if now.state_free < _SCARCE:
        text = f"only {_size(now.state_free)} left for images and logs below {now.state}"
        return warning(
            "state", text, f"free some, or export KVMRUN_STATE_DIR=…; du -sh {now.state}/* tells what is there"
        )
    return ok("state", f"{now.state} can be written, {_size(now.state_free)} left")


def _boot(lab: Lab, now: MachineFacts) -> Finding:
    wanted = sorted(name for name, guest in lab.guests.items() if guest.autostart)
    without = [name for name in wanted if name not in now.started or not now.units]
    if now.units is None:
        return ok("boot", "systemd does not run here: nothing is started at boot")
    if without:
        fix = "kvmrun export systemd /etc/kvmrun/systemd && systemctl enable /etc/kvmrun/systemd/*.service"
        return warning("boot", f"{', '.join(without)}: autostart = true, but no unit is installed", fix)
    if wanted:
        return ok("boot", f"started with the machine: {', '.join(wanted)}")
    return ok("boot", f"no guest has autostart = true, and {'the networks have a' if now.units else 'no'} unit")


def _size(size: int) -> str:
    return f"{size / (1 << 30):.1f}G" if size >= 10 << 30 else f"{size >> 20}M"
