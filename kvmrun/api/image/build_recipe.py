"""The program that builds a guest from packages, for a caller that becomes it."""

import os
from collections.abc import Sequence

from kvmrun.api.lab import LabHandle
from kvmrun.host.images.recipes import recipe_command, recipe_environment


def build_call(lab: LabHandle, kind: str, words: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """The command and the environment that build "demo" or "debian" below the state directory of the lab.

    Raises: HostLacks where the shell or the recipe is missing.
    """
    return recipe_command(kind, words), recipe_environment(os.environ) | {"KVMRUN_STATE_DIR": lab.paths.state}
