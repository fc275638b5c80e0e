"""A host on which all is well, the doctor who is asked about it, and the firewalls that others put there."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from support.builders import guests
from support.cli import Cli
from support.hosts import Host, host, name_server
from support.world import ip

NETWORKS = (
    '[network.lan]\ndns = { upstream = ["172.20.1.254"] }\n[uplink.isp]\ninterface = "eth9"\ngateway = "172.20.1.254"\n'
)
DOCKER = """
table ip filter {
  chain DOCKER-USER { return; }
  chain FORWARD {
    type filter hook forward priority filter; policy drop;
    jump DOCKER-USER
    oifname "docker0" ct state related,established accept
    iifname "docker0" oifname != "docker0" accept
  }
}
"""
FIREWALLD = """
table inet firewalld {
  chain filter_FWD_public { reject with icmpx admin-prohibited; }
  chain filter_FORWARD_ZONES { iifname "eth9" goto filter_FWD_public; }
  chain filter_FORWARD {
    type filter hook forward priority filter + 10; policy accept;
    ct state { established, related } accept
    iifname "lo" accept
    jump filter_FORWARD_ZONES
    ct state invalid drop
    reject with icmpx admin-prohibited
  }
}
"""
FIREWALLD_IN = """
table inet firewalld {
  chain filter_IN_public { udp dport 546 accept; tcp dport 22 accept; }
  chain filter_INPUT_ZONES { iifname "eth9" goto filter_IN_public; goto filter_IN_public; }
  chain filter_INPUT {
    type filter hook input priority filter + 10; policy accept;
    ct state { established, related } accept
    iifname "lo" accept
    jump filter_INPUT_ZONES
    drop
  }
}
"""
UFW = """
table ip filter {
  chain ufw-before-forward { ct state related,established accept; }
  chain FORWARD { type filter hook forward priority filter; policy drop; jump ufw-before-forward; }
}
"""
BY_IPTABLES = """
iptables -P FORWARD DROP; iptables -P INPUT DROP
for chain in DOCKER-USER DOCKER-FORWARD DOCKER-CT; do iptables -N $chain; done
for chain in ufw-before-input ufw-not-local ufw-user-input; do iptables -N $chain; done
iptables -A FORWARD -j DOCKER-USER
iptables -A FORWARD -j DOCKER-FORWARD
iptables -A DOCKER-FORWARD -j DOCKER-CT
iptables -A DOCKER-FORWARD -i docker0 -j ACCEPT
iptables -A DOCKER-CT -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
iptables -A DOCKER-USER -j RETURN
iptables -A INPUT -j ufw-before-input
iptables -A INPUT -j ufw-user-input
iptables -A ufw-before-input -i lo -j ACCEPT
iptables -A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
iptables -A ufw-before-input -j ufw-not-local
iptables -A ufw-not-local -m addrtype --dst-type LOCAL -j RETURN
iptables -A ufw-not-local -m addrtype --dst-type BROADCAST -j RETURN
iptables -A ufw-not-local -j DROP
iptables -A ufw-user-input -p tcp --dport 22 -j ACCEPT
"""
DOCKER_LAST = 'add rule ip filter FORWARD iifname "docker0" accept; add rule ip filter FORWARD counter drop'


class Doctor:
    """Asks the doctor, and follows its advice."""

    def __init__(self, kvmrun: Cli, lab: Path, isp: Host) -> None:
        self.kvmrun = kvmrun
        self.lab = lab
        self.isp = isp

    def findings(self, subject: str = "", *, after: str = "", **environ: str) -> list[dict[str, Any]]:
        """What it finds of `subject` that is not ok, in a shell that has run `after` before; its exit code is held to
        its problems.
        """
        words = [*self.kvmrun.words, "doctor", "-o", "json", "--timeout", "120"]  # also on a busy machine
        done = subprocess.run(
            ["sh", "-c", f'{{ {after or ":"}; }} >/dev/null || exit 99; exec "$@"', "sh", *words],
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
            env={**os.environ, **environ},
        )
        assert done.returncode in {0, 1}, done.stderr
        document = json.loads(done.stdout)
        levels = [one["level"] for one in document["findings"]]
        assert (document["schema"], document["well"]) == (1, "problem" not in levels)
        assert done.returncode == (1 if "problem" in levels else 0), done.stderr
        return [one for one in document["findings"] if one["level"] != "ok" and subject in {"", one["subject"]}]

    def only(self, subject: str, **environ: str) -> dict[str, Any]:
        (found,) = self.findings(subject, **environ)
        assert found["fix"]
        return found

    def mended(self, finding: dict[str, Any], *, to: str = "ok", **environ: str) -> None:
        """Carry out the mend, a line for a file or a command; afterwards nothing is found in the way."""
        mend = finding["fix"]
        if edit := re.search(r'(\w+ = "[^"]+") in (/\S+)$', mend):
            path = Path(edit[2])
            path.write_text(f"{edit[1]}\n{path.read_text() if path.exists() else ''}")
            mend = ""
        left = self.findings(finding["subject"], after=mend, **environ)
        assert [one["level"] for one in left] == ([] if to == "ok" else [to])


@contextmanager
def well(lab: Path, kvmrun: Cli) -> Iterator[Doctor]:
    """A host on which all is well: one way out, one emulated guest, bridge netfilter off."""
    guests(lab, "vm1")
    (lab / "networks.toml").write_text(NETWORKS)
    (lab.parent / "state").mkdir()
    with host("eth9", address="172.20.1.254/24") as isp, ExitStack() as stack:
        ip("address", "add", "172.20.1.130/24", "dev", "eth9")
        ip("route", "add", "default", "via", "172.20.1.254")
        stack.enter_context(name_server(isp, "172.20.1.254", "192.0.2.7", everything=True))
        subprocess.run(["sysctl", "-qw", "net.bridge.bridge-nf-call-iptables=0"], check=False)
        yield Doctor(kvmrun, lab, isp)
