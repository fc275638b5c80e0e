"""The first words with a guest: is it ours, is it as asked."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.builders import own_socket
from support.qemu import needs_qemu, qemu
from support.qmp import WAYS, Peer, Way, serve

from kvmrun.errors import HostLacks, KvmrunError, Refused, Unresponsive
from kvmrun.monitor.qmp import startup_check

UUID = "6f2a0a5e-0000-5000-8000-000000000001"
OTHER = "6f2a0a5e-0000-5000-8000-000000000002"


@pytest.fixture
def path(own_directories: Path) -> str:
    return str(own_directories / "q")


@needs_qemu
class TestQemu:
    @pytest.fixture(autouse=True)
    def _guest(self, path: str) -> Iterator[None]:
        with qemu(path, "-uuid", UUID):
            yield

    def test_the_right_one_is_accepted_and_resumed(self, path: str) -> None:
        startup_check.verify_started(own_socket(path), uuid=UUID, accel="tcg")
        assert startup_check.resume(own_socket(path)) == "running"

    def test_another_guest_is_refused(self, path: str) -> None:
        with pytest.raises(Refused, match="another guest answers") as caught:
            startup_check.verify_started(own_socket(path), uuid=OTHER, accel="tcg")
        assert UUID in caught.value.reason

    def test_an_emulated_one_is_not_taken_for_kvm(self, path: str) -> None:
        with pytest.raises(HostLacks, match="does not run on kvm"):
            startup_check.verify_started(own_socket(path), uuid=UUID, accel="kvm")


def version(major: int, minor: int, status: str = "{}") -> bytes:
    greeting = {"QMP": {"version": {"qemu": {"major": major, "minor": minor, "micro": 0}}}}
    return (json.dumps(greeting) + "\n" + '{"return": {}}\n' + f'{{"return": {status}}}\n' * 3).encode()


def telling(data: bytes) -> Way:
    def way(peer: Peer) -> None:
        peer.send(data)
        peer.wait()

    return way


def test_an_old_qemu_is_told_from_one_that_will_do(path: str) -> None:
    with serve(path, telling(version(7, 1))), pytest.raises(HostLacks, match=r"QEMU 7.1 is too old"):
        startup_check.verify_started(own_socket(path), uuid=UUID, accel="tcg", limit=30)


def test_a_silent_one_is_unresponsive_and_a_dead_one_gone(path: str) -> None:
    with serve(path, WAYS["silent"]), pytest.raises(Unresponsive):
        startup_check.verify_started(own_socket(path), uuid=UUID, accel="tcg", limit=0.2)
    with pytest.raises(startup_check.QemuExited):
        startup_check.resume(own_socket(path), limit=30)


@pytest.mark.parametrize("way", ["random-bytes", "greeting-is-not-one", "greeting-too-deep", "close-at-once"])
def test_nonsense_is_a_plain_error(path: str, way: str) -> None:
    with serve(path, WAYS[way]), pytest.raises(KvmrunError):
        startup_check.verify_started(own_socket(path), uuid=UUID, accel="tcg", limit=30)


@pytest.mark.parametrize("odd", ["[]", "null", "5", '{"UUID": [1], "enabled": "yes"}'])
def test_answers_of_an_odd_shape_are_refused(path: str, odd: str) -> None:
    with serve(path, telling(version(8, 0, odd))), pytest.raises(KvmrunError):
        startup_check.verify_started(own_socket(path), uuid=UUID, accel="tcg", limit=30)
