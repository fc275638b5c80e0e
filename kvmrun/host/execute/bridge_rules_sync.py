"""The rules of networks that are up name the bridges of the lab: they follow when one comes or goes."""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

from kvmrun.errors import Busy, KvmrunError, refused_by_host
from kvmrun.host.facts import network_facts
from kvmrun.host.firewall import nft
from kvmrun.host.links import link_list
from kvmrun.host.rundir import rundir
from kvmrun.model import derive
from kvmrun.model.deadline import remaining
from kvmrun.model.lab import Lab
from kvmrun.model.paths import Paths
from kvmrun.plan.network import nft_network, record_paths


@contextmanager
def followed_on_error(look: Callable[[], Lab], where: Paths) -> Iterator[None]:
    """Have the rules follow what the body has done to bridges where it fails half-way."""
    try:
        yield
    except BaseException:
        with suppress(KvmrunError, OSError):
            follow(look, where)
        raise


def follow(look: Callable[[], Lab], where: Paths) -> None:
    """Have the rules of the lab's networks name the bridges that are there now; `look` gives the lab as it holds.

    All that differ are loaded together, which takes nft as often for one as for many. Two commands take turns, so that
    the later one sees the bridges of both. A network that another command is changing is left to that command, which
    comes here after it.

    Raises: Busy, KvmrunError.
    """
    if where.root:
        try:
            _follow(look, where)
        except OSError as error:
            raise refused_by_host("have the rules of the lab's networks follow their bridges", error) from None


def _follow(look: Callable[[], Lab], where: Paths) -> None:
    with _turn(f"{where.run}/net"), ExitStack() as stack:
        now = look()
        up = [
            name for name in sorted(now.now.up) if os.path.lexists(record_paths.rules_record(where, now.networks[name]))
        ]
        if not up:
            return
        bridges = sorted(network_facts.own_bridges(now, link_list.port_links()))
        loadings = []
        for name in up:
            with suppress(Busy):
                stack.enter_context(rundir.locked(where.network(name), f"network {name}", shared=True, limit=0))
                record = record_paths.rules_record(where, now.networks[name])
                text = nft_network.with_bridges(before := nft.text(record), {now.now.up[name].network.bridge, *bridges})
                if text != before:
                    loadings.append(nft.RulesetLoad(nft_network.table_name(name), text, record, derive.digest(text)))
        for loading in loadings:
            loading.finish()


@contextmanager
def _turn(directory: str) -> Iterator[None]:
    """Be alone here; without a run directory there is nothing to follow, and nobody to wait for."""
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield
        return
    deadline = time.monotonic() + remaining(rundir.OP_LIMIT)
    try:
        while not _taken(fd):
            if time.monotonic() > deadline:
                raise Busy(
                    "the rules of the networks are busy", "try again", reason="another kvmrun is at work on them"
                )
            time.sleep(0.01)
        yield
    finally:
        os.close(fd)


def _taken(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
