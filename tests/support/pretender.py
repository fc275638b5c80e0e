"""A QEMU that is none: started by kvmrun like one, it serves the monitors it was handed honestly until told otherwise.

Run as a program of its own, with a copy of qmp.py beside it; the way it treats whoever comes is read anew each time.
"""

import json
import os
import re
import shutil
import socket
import sys
import threading
from contextlib import suppress
from pathlib import Path

if __name__ == "__main__":  # a copy, in a directory that any account may read
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    import qmp
else:
    from support import qmp


class Pretender:
    """What the test has of it: the program for KVMRUN_QEMU, and what each guest's is to do."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.place.mkdir(mode=0o755)
        here = Path(__file__).parent
        shutil.copy(here / "qmp.py", place / "qmp.py")
        self.program = place / "qemu"
        self.program.write_text("#!/usr/bin/python3 -I\n" + (here / "pretender.py").read_text())
        for path in (self.program, place / "qmp.py"):
            path.chmod(0o755)

    def be(self, guest: str, way: str) -> None:
        """From the next client on, the QEMU of `guest` behaves in this way; "honest" is the first."""
        new = self.place / f"{guest}.new"
        new.write_text(way)
        new.chmod(0o644)
        new.rename(self.place / guest)


def honest(peer: qmp.Peer, uuid: str, state: list[str]) -> None:
    peer.say(qmp.GREETING)
    while True:
        command = peer.hear()
        name = command["execute"]
        if name == "cont":
            state[0] = "running"
        answers = {
            "query-status": {"status": state[0], "running": state[0] == "running"},
            "query-uuid": {"UUID": uuid},
            "query-kvm": {"enabled": False, "present": False},
            "query-qmp-schema": [],
        }
        peer.say({"return": answers.get(str(name), {})} | {key: command[key] for key in ("id",) if key in command})
        if name == "quit":
            os._exit(0)


def says(word: str) -> qmp.Way:
    """An answer to everything, or a refusal of what is unknown, with the JSON string `word` wherever there is room."""

    def way(peer: qmp.Peer) -> None:
        peer.say(qmp.GREETING)
        while True:
            command = peer.hear()
            known = str(command["execute"]).startswith(("q", "cont", "stop"))
            text = json.loads(word)
            value = {"status": text, "UUID": text, "enabled": text, text: [text]}
            told: dict[str, object] = {"return": value} if known else {"error": {"class": text, "desc": text}}
            peer.say({"event": text, "data": {text: text}, "timestamp": {"seconds": 1, "microseconds": 2}})
            peer.say(told | {key: command[key] for key in ("id",) if key in command})

    return way


def serve(fd: int, guest: str, uuid: str, state: list[str]) -> None:
    here = os.path.dirname(os.path.abspath(__file__))
    with socket.socket(fileno=fd) as at:
        while True:
            sock, _ = at.accept()
            try:
                with open(f"{here}/{guest}") as file:
                    way = file.read()
            except OSError:
                way = "honest"
            peer = qmp.Peer(sock=sock, done=threading.Event())
            if way.startswith("says:"):
                threading.Thread(target=treat, args=(peer, says(way[5:])), daemon=True).start()
                continue
            do = (qmp.WAYS | qmp.MORE).get(way) or (lambda one: honest(one, uuid, state))
            threading.Thread(target=treat, args=(peer, do), daemon=True).start()


def treat(peer: qmp.Peer, do: qmp.Way) -> None:
    with peer.sock, suppress(qmp.Gone, OSError):
        do(peer)


def main(words: list[str]) -> None:
    text = "\n".join(words)
    guest = re.findall(r"^guest=(\S+)$", text, re.MULTILINE)[0]
    uuid = words[words.index("-uuid") + 1]
    state = ["prelaunch"]
    monitors = re.findall(r"^socket,id=[qep],fd=(\d+)", text, re.MULTILINE)
    threads = [threading.Thread(target=serve, args=(int(fd), guest, uuid, state)) for fd in monitors]
    for one in threads:
        one.start()
    for one in threads:
        one.join()


if __name__ == "__main__":
    main(sys.argv[1:])
