"""The firmware of one guest, and how it is spelled for QEMU."""

from collections.abc import Iterator, Mapping

from kvmrun.model.firmware.descriptor import Descriptor, Flash
from kvmrun.model.guest.qemu_option import BootFile, Image, Option, TemporaryImage
from kvmrun.model.value import EMPTY, Value

File = Image | TemporaryImage | BootFile
_CODE, _VARIABLES = "firmware", "variables"


class UefiFirmware(Value):
    """UEFI for a guest: `code` is the same for all, `variables` are the guest's own, in qcow2, "" where it has none.

    They are qcow2 from the first start on: no internal snapshot can be taken of a guest with raw ones. With `throwaway`
    they are only read, and what the guest writes is gone with its QEMU.
    """

    code: Flash
    variables: str
    smm: bool = False
    throwaway: bool = False

    def machine_properties(self) -> Mapping[str, str]:
        """What the machine has to be told of it."""
        if not self.variables:
            return EMPTY
        flash = {"pflash0": _CODE, "pflash1": _VARIABLES}
        return {"smm": "on", **flash} if self.smm else flash

    def files(self) -> Iterator[File]:
        """The files that QEMU is given, the code first, and the variables last."""
        if not self.variables:
            yield BootFile(path=self.code.path)
            return
        yield Image(path=self.code.path, readonly=True)
        yield Image(path=self.variables, readonly=self.throwaway)
        if self.throwaway:
            yield TemporaryImage(path=f"{self.variables}.throwaway")

    def options(self) -> Iterator[Option]:
        code, *variables = self.files()
        if not variables:
            yield Option(flag="bios", text=code)
            return
        yield Option(flag="blockdev", props=_layer(_CODE, self.code.format, code, readonly=True))
        below = _layer(f"{_VARIABLES}-kept", "qcow2", variables[0], readonly=True) if self.throwaway else None
        kept = {**_layer(_VARIABLES, "qcow2", variables[-1], readonly=False), "backing": below}
        yield Option(flag="blockdev", props=kept)
        if self.smm:
            yield Option(flag="global", text="driver=cfi.pflash01,property=secure,value=on")


def _layer(node: str, driver: str, file: File, *, readonly: bool) -> dict[str, object]:
    below = {"driver": "file", "filename": file, "read-only": readonly}
    top: dict[str, object] = {"driver": driver, "node-name": node, "read-only": readonly, "file": below}
    return top | ({"backing": None} if driver == "qcow2" else {})


def firmware_of(descriptor: Descriptor, variables: str, *, throwaway: bool) -> UefiFirmware:
    """The firmware by its descriptor; `variables` is where those of the guest are, or are to be."""
    kept = variables if descriptor.mapping == "split" else ""
    return UefiFirmware(code=descriptor.code, variables=kept, smm=descriptor.needs_smm, throwaway=throwaway)
