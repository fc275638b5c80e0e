"""What the seed of a guest takes from the image that the guest is based on: its back end, and its account."""

from collections.abc import Mapping

from kvmrun.config.toml_values import Converter
from kvmrun.model.guest.guest import Guest
from kvmrun.model.image.pinned_image import PinnedImage
from kvmrun.model.seed.seed_values import AccountName

_WANTED = '"cloud-init", "ignition" or "credentials"'


def with_image_seed(file: Converter, guest: Guest, pins: Mapping[str, PinnedImage]) -> Guest:
    """The guest with what its seed does not say; `pins` are the images of the lab by their paths.

    What is wrong is recorded in `file`.
    """
    seed = guest.seed
    if seed is None:
        return guest
    pin = next((pins[drive.base] for drive in guest.drive if drive.base and drive.base in pins), None)
    if seed.backend is None:
        if pin is None:
            file.sentence("seed.backend", f"no drive has a base that images.toml pins: backend must be {_WANTED}")
        elif pin.seed == "none":
            file.sentence("seed", f"the image takes no seed; backend = {_WANTED}, if it does")
        else:
            seed = seed.replace(backend=pin.seed)
    if seed.user is None and not seed.user_data:
        seed = seed.replace(user=_account(guest.ssh_user or (pin.user if pin else None)))
    for key, found, wanted in seed.problems(guest.machine):
        file.problem(f"seed.{key}", found, wanted)
    return guest.replace(seed=seed)


def _account(word: str | None) -> AccountName | None:
    try:
        return AccountName.parse(word)
    except ValueError:
        return None
