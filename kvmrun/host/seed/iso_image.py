"""Small ISO 9660 images, with the names of their files in Rock Ridge and Joliet."""

import io
from collections.abc import Mapping
from typing import BinaryIO

import pycdlib
from pycdlib.pycdlibexception import PyCdlibException

from kvmrun.errors import KvmrunError


def write_iso(file: BinaryIO, label: str, documents: Mapping[str, bytes]) -> None:
    """Write an image of that label with these files in its root. Raises KvmrunError where the library cannot."""
    iso = pycdlib.PyCdlib()
    try:
        iso.new(interchange_level=3, joliet=3, rock_ridge="1.09", vol_ident=label)
        for number, (name, data) in enumerate(documents.items()):
            iso.add_fp(io.BytesIO(data), len(data), f"/FILE{number}.;1", rr_name=name, joliet_path=f"/{name}")
        iso.write_fp(file)
        iso.close()
    except PyCdlibException as error:
        raise KvmrunError("the seed cannot be written as an ISO image", reason=f"{error}") from None
