"""The firmware of one guest, and how it is spelled for QEMU."""

from collections.abc import Iterator, Mapping

from kvmrun.model.firmware.descriptor import Descriptor, Flash
from kvmrun.model.guest.qemu_argv import BootFile, Image, Option
from kvmrun.model.value import EMPTY, Value

_CODE, _VARIABLES = "firmware", "variables"


class UefiFirmware(Value):
    """UEFI for a guest: `code` is the same for all, `variables` are the guest's own, in qcow2, "" where it has none.

    They are qcow2 from the first start on: no internal snapshot can be taken of a guest with raw ones.
    """

    code: Flash
    variables: str
    smm: bool = False

    def machine_properties(self) -> Mapping[str, str]:
        """What the machine has to be told of it."""
        if not self.variables:
            return EMPTY
        flash = {"pflash0": _CODE, "pflash1": _VARIABLES}
        return {"smm": "on", **flash} if self.smm else flash

    def files(self) -> Iterator[Image | BootFile]:
        """The files that QEMU is given."""
        if not self.variables:
            yield BootFile(path=self.code.path)
            return
        yield Image(path=self.code.path, readonly=True)
        yield Image(path=self.variables, readonly=False)

    def options(self) -> Iterator[Option]:
        code, *variables = self.files()
        if not variables:
            yield Option(flag="bios", text=code)
            return
        yield Option(flag="blockdev", props=_layer(_CODE, self.code.format, code, readonly=True))
        yield Option(flag="blockdev", props=_layer(_VARIABLES, "qcow2", variables[0], readonly=False))
        if self.smm:
            yield Option(flag="global", text="driver=cfi.pflash01,property=secure,value=on")


def _layer(node: str, driver: str, file: Image | BootFile, *, readonly: bool) -> dict[str, object]:
    below = {"driver": "file", "filename": file, "read-only": readonly}
    top: dict[str, object] = {"driver": driver, "node-name": node, "read-only": readonly, "file": below}
    return top | ({"backing": None} if driver == "qcow2" else {})


def firmware_of(descriptor: Descriptor, variables: str) -> UefiFirmware:
    """The firmware by its descriptor; `variables` is where those of the guest are, or are to be."""
    kept = variables if descriptor.mapping == "split" else ""
    return UefiFirmware(code=descriptor.code, variables=kept, smm=descriptor.needs_smm)
