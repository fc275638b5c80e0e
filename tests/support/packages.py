"""Programs that tests run and this host need not have installed."""

import os

_PLACES = ("/", os.environ.get("KVMRUN_TEST_STATE", "") and f"{os.environ['KVMRUN_TEST_STATE']}/packages")


def packaged(path: str) -> str:
    """A file of a package, "" for none: of this host, or where scripts/test unpacks packages beside the guests."""
    places = [place for place in (*_PLACES, "/var/lib/kvmrun/packages") if place]
    return next((found for place in places if os.path.exists(found := os.path.join(place, path))), "")
