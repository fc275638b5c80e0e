"""Documents in which publishers describe their images: simplestreams, and the streams of Fedora CoreOS."""

from typing import Any

from kvmrun.model.image.image_digest import Digest
from kvmrun.model.image.version_order import version_key
from kvmrun.model.value import Value


class StreamImage(Value):
    """An image as a stream tells of it: `path` is relative to the root of the stream, or an address."""

    path: str
    digest: Digest
    build: str
    size: int | None = None


class StreamError(ValueError):
    """The document is not of the form that it should have; the text completes "the stream ..."."""


def simplestreams_image(document: object, product: str, item: str) -> StreamImage:
    """The newest build of a product that has the item, as "disk1.img". Raises StreamError."""
    products = _table(document, "products")
    if product not in products:
        raise StreamError(f"has no product {product}")
    versions = _table(products[product], "versions")
    for build in sorted(versions, key=version_key, reverse=True):
        found = _table(versions[build], "items").get(item)
        if isinstance(found, dict):
            return _image(found.get("path"), found, build)
    raise StreamError(f"has no {item} of {product}")


def coreos_image(document: object, architecture: str = "x86_64") -> StreamImage:
    """The image for QEMU of a CoreOS stream. Raises StreamError."""
    artifacts = _table(_table(_table(document, "architectures").get(architecture), "artifacts").get("qemu"), "formats")
    for kind in ("qcow2.xz", "qcow2.gz", "qcow2"):
        if kind in artifacts:
            disk = _table(artifacts[kind], "disk")
            release = _table(_table(document, "architectures")[architecture], "artifacts")["qemu"].get("release")
            return _image(disk.get("location"), disk, f"{release}")
    raise StreamError("has no image for QEMU")


def _image(path: object, found: dict[str, Any], build: str) -> StreamImage:
    size = found.get("size")
    try:
        digest = Digest.parse(found.get("sha512") or found.get("sha256"))
    except ValueError:
        raise StreamError(f"gives no SHA-256 or SHA-512 for {path}") from None
    if not isinstance(path, str) or not path.isprintable() or ".." in path.split("/"):
        raise StreamError("gives no path for the image")
    return StreamImage(path=path, digest=digest, build=build, size=size if isinstance(size, int) and size > 0 else None)


def _table(value: object, key: str) -> dict[str, Any]:
    found = value.get(key) if isinstance(value, dict) else None
    if not isinstance(found, dict):
        raise StreamError(f'has no table "{key}" where one belongs')
    return found
