"""kvmrun check: everything wrong with the lab, without touching the host."""

import json
import os
import sys

from kvmrun.commands._lab import directories, open_lab
from kvmrun.commands._words import Args, Parser
from kvmrun.errors import ConfigError, KvmrunError, NoSuchGuest
from kvmrun.host import bridges
from kvmrun.host.facts import guest_facts, network_facts
from kvmrun.host.rundir import records
from kvmrun.light.abc import Iterator
from kvmrun.model.guest.paths import Directories
from kvmrun.model.lab import Lab, Problem
from kvmrun.plan.guest import image_plan
from kvmrun.plan.network import dnsmasq_config, dnsmasq_plan

HELP = "validate the lab without touching the host"


def configure(parser: Parser) -> None:
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="the format of the output")


def run(args: Args) -> int:
    where = directories(args)
    lab = open_lab(where)
    found = [one for guest in lab.guests.values() for one in image_plan.problems(guest, guest_facts.images(guest))]
    lab = lab.but(problems=(*lab.problems, *found, *_bridges(lab), *_leases(lab, where)))
    errors = [one for one in lab.problems if not one.warning]
    if args.output == "json":
        document = {"schema": 1, "guests": sorted(lab.guests), "problems": [_document(one) for one in lab.problems]}
        sys.stdout.write(json.dumps(document, sort_keys=True) + "\n")
    else:
        for one in lab.problems:
            sys.stdout.write(f"{'warning' if one.warning else 'error'}: {one}\n")
        if not (lab.guests or lab.invalid):
            what = "has no guests" if os.path.isdir(lab.directory) else "does not exist"
            raise NoSuchGuest(f"{lab.directory} {what}", "kvmrun init DIR writes an example")
        if not errors:
            networks = _counted(len(lab.networks), "network")
            sys.stdout.write(f"{_counted(len(lab.guests), 'guest')} on {networks}: no errors\n")
    return ConfigError.code if errors else 0


def _bridges(lab: Lab) -> Iterator[Problem]:
    """An error for every network whose bridge is to be called as another interface of this host is."""
    for one in lab.networks.values():
        found = None if one.external else bridges.read(one.bridge)
        if found is not None and found.kind != "bridge":
            text = f"{one.bridge} is a network interface of this host, and no bridge"
            wanted = "the name of a bridge that kvmrun makes, such as br0"
            key = f"network.{one.name}.bridge"
            yield Problem(file="networks.toml", key=key, found=one.bridge, wanted=wanted, text=text)


def _leases(lab: Lab, where: Directories) -> Iterator[Problem]:
    """A warning for every lease of an address that is reserved for another guest now, as far as we may read them."""
    try:
        now = records.in_force(lab, where)
    except KvmrunError:
        return
    for name in now.now.up:
        network = now.networks[name]
        path = dnsmasq_plan.files(now, network, where).leases
        for address, mac in dnsmasq_config.taken_leases(network, now.ports(), network_facts.leases(path)):
            found, wanted = f"a lease of {address} to {mac}", f"none, it is reserved: kvmrun net up {name} drops it"
            yield Problem(file="networks.toml", key=f"network.{name}", found=found, wanted=wanted, warning=True)


def _document(problem: Problem) -> dict[str, object]:
    return {**problem.as_dict(), "message": f"{problem}"}


def _counted(count: int, thing: str) -> str:
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"
