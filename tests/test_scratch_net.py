import os, subprocess, pytest, json
from pathlib import Path
from fakes.cli import Cli, guests
from fakes.elsewhere import ask, host, uplink, reverse, fetch
from fakes.world import world, world_after, ip, until

pytestmark = pytest.mark.usefixtures("netns", "tun")

def sh(c): 
    r = subprocess.run(c, shell=True, capture_output=True, text=True); return r.stdout + r.stderr

def test_two(lab, kvmrun):
    (lab/"networks.toml").write_text('[network.lan]\n[network.dmz]\nbridge="br1"\nsubnet="192.168.7.0/24"\ndomain="dmz"\n')
    r = kvmrun("net", "up")
    print(r, sh("ss -lnup"))
    print(kvmrun("net","status").out)
    r = kvmrun("net", "down"); print(r)

def test_recreate(lab, kvmrun):
    guests(lab, "vm1")
    kvmrun.ok("net","up")
    ip("link","delete","br0")
    print(kvmrun("net","status").out)
    print(kvmrun("net","up","-v"))
    row = kvmrun.rows()["vm1"]["nics"][0]
    with host("v1", bridge="br0", mac=row["mac"]) as one:
        print(one.lease(), row)
        print(ask("192.168.0.254","vm1"), ask("192.168.0.254","vm1.lan"), ask("192.168.0.254", reverse(row["address"]),"PTR"))

def test_v6only(lab, kvmrun):
    (lab/"networks.toml").write_text('[network.lan]\ndhcp=false\nipv6="fd00:77::/64"\n')
    print(kvmrun("net","up","-v"))
    (lab/"networks.toml").write_text('[network.lan]\n')
    print(kvmrun("net","up","-v"))

def test_secondary(lab, kvmrun):
    kvmrun.ok("net","up")
    ip("address","del","192.168.0.254/24","dev","br0")
    ip("address","add","192.168.0.77/24","dev","br0")
    ip("address","add","192.168.0.254/24","dev","br0")
    print(kvmrun("net","up","-v"), sh("ip a show br0"))

def test_badforward(lab, kvmrun):
    (lab/"networks.toml").write_text('[network.lan]\nforward=["tcp 80 -> nobody:80"]\nnat=["x"]')
    print(kvmrun("net","up","-v"))
    (lab/"networks.toml").write_text('[network.lan]\nmtu=5')
    print(kvmrun("net","up","-v"))

def test_ups(lab, kvmrun):
    with uplink("wan0", 1), uplink("wan1", 2, 200):
        kvmrun.ok("net","up")
        with host("v1", bridge="br0") as one:
            print(one.lease())
            print(one.page("10.1.0.1"), one.page("10.2.0.1"), one.page("203.0.113.9"))
            ip("link","delete","wan0")
            print(one.page("203.0.113.9"))
            print(kvmrun("net","status").out)
