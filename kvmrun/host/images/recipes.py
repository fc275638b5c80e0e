"""The recipes that build guests from packages: shell scripts of the package, called in an environment of their own."""

import os
from collections.abc import Mapping, Sequence

import kvmrun
from kvmrun.errors import HostLacks

_RECIPES = f"{os.path.dirname(os.path.abspath(kvmrun.__file__))}/recipes"
_BASH = "/bin/bash"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PASSED = ("HOME", "TERM", "TMPDIR", "http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


def recipe_command(name: str, words: Sequence[str]) -> list[str]:
    """The command that runs a recipe with these arguments. Raises HostLacks where it or its shell is missing."""
    recipe = f"{_RECIPES}/{name}"
    for needed in (_BASH, recipe):
        if not os.path.isfile(needed):
            raise HostLacks(f"{needed} is missing", "apt install bash" if needed == _BASH else "reinstall the package")
    return [_BASH, recipe, *words]


def recipe_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What a recipe is given of an environment: proxies and directories, and a search path of ours."""
    return {name: environ[name] for name in _PASSED if name in environ} | {"PATH": _PATH, "LANG": "C.UTF-8"}
