# shellcheck shell=bash
# What the scripts share: where the project is, what it needs from the system, and its virtual environment.

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$here/.venv

say() { printf '%s\n' "$*"; }
fail() { printf '%s\n' "$1" >&2; exit "${2:-1}"; }

# packages_for COMMAND:PACKAGE...: install the packages whose commands, or files, are missing
packages_for() {
    local pair missing=()
    for pair in "$@"; do
        command -v "${pair%%:*}" > /dev/null || [[ -f ${pair%%:*} ]] || missing+=("${pair#*:}")
    done
    ((${#missing[@]})) || return 0
    [[ $(id -u) == 0 ]] || fail "missing: ${missing[*]}. Install them: apt install ${missing[*]}" 69
    say "installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get install -qq -y --no-install-recommends "${missing[@]}" > /dev/null 2>&1 ||
        { apt-get update -qq && apt-get install -qq -y --no-install-recommends "${missing[@]}" > /dev/null; }
}

# The system's Python, not one a version manager puts in the way: it starts quicker and stays when that one goes.
system_python() {
    local python
    for python in /usr/bin/python3 python3; do
        if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null; then
            say "$python"
            return
        fi
    done
    fail "kvmrun needs Python 3.11 or later" 69
}

# environment WHAT: make .venv and install the project into it (WHAT as pip takes it), when pyproject.toml has changed
environment() {
    local python stamp=$venv/kvmrun-stamp want
    python=$(system_python)
    want=$(printf '%s\n' "$*" "$here" | cat - "$here/pyproject.toml" | sha256sum)
    [[ $(cat "$stamp" 2> /dev/null) == "$want" ]] && isolate && return
    "$python" -c 'import ensurepip, venv' 2> /dev/null || packages_for "no-such-command:python3-venv"
    say "installing kvmrun into $venv"
    [[ -x $venv/bin/python ]] || "$python" -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=23.3'
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$@"
    isolate
    printf '%s\n' "$want" > "$stamp"
}

# The installed command takes nothing from PYTHON* variables, the user's own site or the current directory, not even
# what Python loads before a line of ours: pip cannot be told so
isolate() { sed -i '1{/^#!.*python[0-9.]*$/s/$/ -I/}' "$venv/bin/kvmrun"; }

runtime=(
    qemu-system-x86_64:qemu-system-x86 qemu-img:qemu-utils s6-log:s6 capsh:libcap2-bin setpriv:util-linux
    dnsmasq:dnsmasq-base nft:nftables ip:iproute2
)
testing=(
    curl:curl shorewall:shorewall strace:strace zsh:zsh fish:fish mandoc:mandoc dbus-daemon:dbus-daemon
    /usr/share/OVMF/OVMF_CODE_4M.fd:ovmf swtpm:swtpm
    ping:iputils-ping systemd-analyze:systemd busybox:busybox-static ssh:openssh-client
)

# compiled: compile the package, which the tests start thousands of times, also where the caller writes no bytecode: to
# compile what a command loads takes four times as long as the command
compiled() {
    unset PYTHONDONTWRITEBYTECODE
    "$venv/bin/python" -m compileall -q "$here/kvmrun"
}

# unpack_packages PACKAGE...: their files beside the guests of the tests. Installed, systemd-resolved would take over
# resolv.conf, and Ignition would go into the initramfs of this host.
unpack_packages() {
    local into=${KVMRUN_TEST_STATE:-/var/lib/kvmrun}/packages work one
    [[ ! -d $into ]] || return 0
    work=$(mktemp -d)
    if (cd "$work" && timeout 120 apt-get download -qq -o APT::Sandbox::User=root "$@" > /dev/null 2>&1); then
        for one in "$work"/*.deb; do dpkg-deb -x "$one" "$work/files"; done
        mkdir -p "${into%/*}"
        mv "$work/files" "$into"
    else
        say "cannot download $*: what needs them is skipped"
    fi
    rm -rf "$work"
}

# run_tests WORDS: pytest with WORDS; guests mostly wait, so four at a time are right for two cores. Each takes the next
# test when it has ended one; conftest.py puts those that take long first.
run_tests() {
    compiled
    "$venv/bin/python" -m pytest -n "${KVMRUN_TEST_WORKERS:-4}" --dist loadgroup "$@"
}
