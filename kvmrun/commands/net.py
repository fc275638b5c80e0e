"""kvmrun net: the networks by themselves."""

import json
import sys
from functools import partial

from kvmrun.commands import _guards, _network
from kvmrun.commands._lab import directories, open_lab
from kvmrun.commands._words import Args, Parser
from kvmrun.errors import ConfigError, OtherLab, UsageError
from kvmrun.host import bridges, own_bridges
from kvmrun.host.execute.undo import applied
from kvmrun.host.facts import guest_facts, network_facts, port_owners, root_capabilities
from kvmrun.host.links import port_state
from kvmrun.host.rundir import records, rundir
from kvmrun.model.finding import problem
from kvmrun.model.guest.paths import Directories
from kvmrun.model.lab import Lab
from kvmrun.model.network.network import Network
from kvmrun.model.printable import printable
from kvmrun.model.suggest import closest
from kvmrun.plan import merge_records
from kvmrun.plan.network import bridge_plan, dns_upstreams, network_plan, port_forward, uplink_routing
from kvmrun.ui.text import doctor_text, network_text
from kvmrun.ui.text.progress import Progress

HELP = "bring networks up or down, or show their state"


def configure(parser: Parser) -> None:
    parser.add_argument("verb", choices=("up", "down", "restart", "status"), help="what to do")
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help="the networks; all if none is named")
    parser.add_argument("-f", "--force", action="store_true", help="down: also while guests are attached")
    parser.add_argument(
        "--owner", metavar="USER", help="up: create persistent taps, so that USER starts guests without root"
    )
    parser.add_argument(
        "-o", "--output", choices=("table", "json"), default="table", help="status: the format of the output"
    )


def run(args: Args) -> int:
    where = directories(args)
    lab = open_lab(where)
    now = records.in_force(lab, where)
    chosen = _chosen(now, args)
    root_capabilities.require()
    if args.verb == "status":
        return _status(now, where, [now.networks[name] for name in chosen], args)
    look = partial(records.in_force, lab, where)
    with Progress(quiet=args.quiet, verbose=args.verbose) as progress, own_bridges.followed(look, where):
        for name in chosen:
            if args.verb == "restart":
                _refuse_in_the_way(lab, now, name)
            if args.verb in {"down", "restart"}:
                _down(lab, where, name, progress, force=args.force or args.verb == "restart")
            if args.verb in {"up", "restart"}:
                _up(lab, where, name, progress, owner=_uid(args.owner) if args.owner else None)
        for name, other in now.now.networks_elsewhere.items() if args.verb == "down" and not args.networks else ():
            if name in lab.networks:
                progress.tell(f"network {name} stays: the lab {printable(other)} has brought it up")
        if args.verb == "down" and set(chosen) & set(now.now.undefined):
            _refresh(lab, where, progress)
    if not args.networks and (wrong := _problems(lab)):
        raise ConfigError("networks.toml has errors", f"edit {lab.directory}/networks.toml", lines=wrong)
    return 0


def _chosen(now: Lab, args: Args) -> list[str]:
    """The networks that are meant: without names all of the lab, for up and restart those that are still defined."""
    defined_only = args.verb in {"up", "restart"}
    if not args.networks:
        left_out = set(now.now.undefined) if defined_only else set()
        left_out |= set(now.now.networks_elsewhere) if args.verb == "down" else set()
        return sorted(now.networks.keys() - left_out)
    for name in args.networks:
        _check(now, name, args.verb)
        if defined_only and name in now.now.undefined:
            wrong = _problems(now)
            hint = f"edit {now.directory}/networks.toml" if wrong else f"kvmrun net down {name}"
            raise ConfigError(f"network {name} is {'not valid' if wrong else 'no longer defined'}", hint, lines=wrong)
    return list(dict.fromkeys(args.networks))


def _check(lab: Lab, name: str, verb: str) -> None:
    """Raises ConfigError, or OtherLab, for a network that is not this lab's."""
    if name in lab.networks:
        return
    if other := lab.now.networks_elsewhere.get(name):
        raise OtherLab(
            f"network {name} is another lab's", other, f"{verb} {name}", why=f"the lab {other} has brought it up"
        )
    near = closest(name, lab.networks)
    hint = f"did you mean {near}?" if near else f"networks: {', '.join(lab.networks) or 'none'}"
    raise ConfigError(f"there is no network {printable(name)}", hint, lines=_problems(lab))


def _problems(lab: Lab) -> tuple[str, ...]:
    return tuple(f"{one}" for one in lab.problems if one.file == "networks.toml")


def _up(lab: Lab, where: Directories, name: str, progress: Progress, *, owner: int | None) -> None:
    def look() -> Lab:
        return records.in_force(lab, where)

    _guards.renew(look(), where, [name])
    _guards.mend(where, name, progress)  # before their taps are plugged in again, where they are loose
    before = _network.steps(look(), where, name, owner)
    with _network.ready(look, where, [name], progress.detail, owner=owner):
        state = "is up" if before else "is up already"
        now = look()
        network = now.networks[name]
        warnings = [*uplink_routing.absent(now, network, network_facts.ways_asked(now, network))]
        if (circle := dns_upstreams.circular(now, network, network_facts.servers()))[0]:
            warnings.append("; fix: ".join(circle))
        if network.forward:
            owners = port_owners.owners({one.port for one in network.forward})
            warnings += [f"{text}; fix: {mend}" for text, mend in port_forward.hidden(network, owners)]
    progress.tell(f"network {network.name} {state}: {network.bridge} {network.host_address()}")
    for warning in warnings:
        progress.tell(f"warning: {warning}")


def _uid(user: str) -> int:
    found = guest_facts.accounts([user])
    if user not in found:
        raise UsageError(f"there is no user {printable(user)}", "--owner takes the name of an account")
    return found[user]


def _down(lab: Lab, where: Directories, name: str, progress: Progress, *, force: bool) -> None:
    from kvmrun.host.execute.network_executor import hand  # brings pyroute2

    with rundir.held(where.network(name), f"network {name}"):
        lab = records.in_force(lab, where)
        merge_records.refuse_elsewhere(lab, name)
        network = lab.as_up(lab.networks[name])
        now = network_facts.wire(lab, network, where)
        steps = network_plan.down(lab, network, where, now, force=force)
        with applied(steps, hand(where), progress.detail):
            pass
    progress.tell(f"network {name} is down" + ("" if steps else " already"))
    if now.bridge and not network.external and (now.occupant or not bridge_plan.is_ours(lab, network, now.bridge)):
        progress.tell(f"{network.bridge} stays: it is not the bridge that was made for the network")


def _refuse_in_the_way(lab: Lab, now: Lab, name: str) -> None:
    """Raises Refused where the network could not come up again as it is defined: then it is not taken down."""
    if name in lab.networks and not lab.networks[name].external:
        network = lab.networks[name]
        if here := bridges.read(network.bridge):
            bridge_plan.refuse_foreign(now, network, here)
        found, _ = bridges.find(now, now.as_up(network), port_state.look)
        routes = [one for one in network_facts.routes() if found is None or one.link != found.renamed]
        bridge_plan.refuse_overlap(network, network_plan.other_routes(now, network, routes))


def _refresh(lab: Lab, where: Directories, progress: Progress) -> None:
    """Make those networks right that stay up after others have gone for good: their rules name all of our bridges."""
    up = records.in_force(lab, where)
    for name in sorted(up.now.up.keys() & lab.networks.keys() - up.now.pending.keys()):
        with _network.ready(lambda: records.in_force(lab, where), where, [name], progress.detail):
            pass


def _status(lab: Lab, where: Directories, networks: list[Network], args: Args) -> int:
    from kvmrun.commands import _wires  # brings pyroute2

    found = [network_text.pasteable(_wires.look(lab, where, network)) for network in networks]
    mistakes = [problem("networks", text, "") for text in _problems(lab)]
    problems = [doctor_text.pasteable(one) for one in (*mistakes, *_wires.in_the_way(lab, where, found))]
    if args.output == "json":
        texts = [f"{one.text}; fix: {one.fix}" if one.fix else one.text for one in problems]
        document = {"schema": 1, "networks": [one.as_dict() for one in found], "problems": texts}
        sys.stdout.write(json.dumps(document, sort_keys=True) + "\n")
    else:
        sys.stdout.write("\n".join(network_text.lines(found, problems)) + "\n")
    return 0
