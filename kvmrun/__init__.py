"""kvmrun: a direct QEMU launcher for one Linux host.

The packages by layer. Imports only point down, and packages of one layer never import each other.

    6  cli                        from a command line to one command, api and ui; the only place that prints errors
    5  api                        the use cases: typed, documented, without printing
    4  host   monitor   ui        changes this machine / talks to guests / shows output
    3  plan   config   export     guest + facts -> steps / text -> model / model -> files of other programs
    2  model                      frozen values, standard library only
    1  errors                     errors with their exit codes

manual/ holds the pages that `kvmrun help` shows; kvmrun-internals(7) describes the design.
"""

__version__ = "0.1.0"

_PUBLIC = {
    "kvmrun.api.definition.check_lab": ("LabCheck", "check_lab"),
    "kvmrun.api.definition.definition_options": ("NewGuestOptions",),
    "kvmrun.api.definition.edit_definition": ("Editing", "Saved", "editing", "save_definition"),
    "kvmrun.api.definition.example_lab": ("Example", "write_example"),
    "kvmrun.api.definition.export_lab": ("Exported", "export_texts", "missing_lines", "write_export"),
    "kvmrun.api.definition.new_guest": ("new_guest",),
    "kvmrun.api.definition.remove_guest": ("Removal", "remove_guest"),
    "kvmrun.api.definition.rename_guest": ("IdentityChange", "Renamed", "current_identity", "rename_guest"),
    "kvmrun.api.disk.clone": ("Cloned", "clone_guest"),
    "kvmrun.api.disk.media": ("Medium", "change_medium", "media"),
    "kvmrun.api.disk.resize": ("Resized", "resize_drive"),
    "kvmrun.api.disk.revert": ("Reversal", "revert_guest"),
    "kvmrun.api.doctor": ("doctor",),
    "kvmrun.api.conversation.agent_copy": ("Copied", "CopyOptions", "GuestPath", "copy_from_guest", "copy_to_guest"),
    "kvmrun.api.conversation.agent_exec": ("CommandNotRun", "ExecOptions", "run_command"),
    "kvmrun.api.conversation.console_session": ("ConsoleOptions", "attach_console"),
    "kvmrun.api.conversation.events": ("events",),
    "kvmrun.api.conversation.freeze": ("FileSystems", "freeze", "thaw"),
    "kvmrun.api.conversation.guest_log": ("follow_log", "read_log", "restart_logger"),
    "kvmrun.api.guest.kill": ("kill",),
    "kvmrun.api.guest.pause_resume_reset": ("Changed", "pause", "reset", "resume"),
    "kvmrun.api.conversation.qmp_monitor": ("execute",),
    "kvmrun.api.guest.restart": ("restart",),
    "kvmrun.api.conversation.screenshot": ("save_screenshot", "screenshot"),
    "kvmrun.api.conversation.ssh_config": ("ssh_config", "write_ssh_config"),
    "kvmrun.api.conversation.ssh_login": ("SshOptions", "ssh_command", "ssh_obstacle"),
    "kvmrun.api.conversation.viewer": ("viewer_command",),
    "kvmrun.api.guest.start": ("start",),
    "kvmrun.api.guest.start_guest": ("Started",),
    "kvmrun.api.guest.start_preview": ("StartPreview", "preview_start"),
    "kvmrun.api.guest.stop": ("stop",),
    "kvmrun.api.guest.teardown": ("Stopped",),
    "kvmrun.api.guest.wait": ("Met", "wait"),
    "kvmrun.api.image.images": (
        "CatalogueImage",
        "ImageStatus",
        "catalogue_images",
        "image_status",
        "prune_images",
        "remove_images",
        "verify_images",
    ),
    "kvmrun.api.image.pull_image": ("PullOptions", "PulledImage", "import_image", "pull_image"),
    "kvmrun.api.lab": ("LabHandle", "open_lab"),
    "kvmrun.api.network.network_status": ("NetworkReport", "network_status"),
    "kvmrun.api.network.networks": ("NetworkChange", "network_down", "network_restart", "network_up"),
    "kvmrun.api.options": ("CloneOptions", "KillOptions", "StartOptions", "StatusOptions", "StopOptions"),
    "kvmrun.api.repair.repair": ("repair",),
    "kvmrun.api.report": (
        "Detail",
        "Done",
        "Event",
        "Noted",
        "Report",
        "TransferEnded",
        "Transferred",
        "Transferring",
        "WaitEnded",
        "Waiting",
        "Warned",
        "discard",
    ),
    "kvmrun.api.status.guest_details": ("GuestDetails", "guest_details"),
    "kvmrun.api.status.guest_list": ("status",),
    "kvmrun.api.status.metrics": ("metrics", "write_metrics"),
    "kvmrun.api.status.usage": ("usage",),
    "kvmrun.errors": (
        "Busy",
        "ConfigError",
        "HostLacks",
        "Interrupted",
        "KvmrunError",
        "NoSuchGuest",
        "NotPermitted",
        "NotRunning",
        "OtherLab",
        "OtherUser",
        "Refused",
        "Several",
        "Unresponsive",
        "UsageError",
    ),
    "kvmrun.model.event": ("GuestEvent",),
    "kvmrun.monitor.agent.agent_commands": ("CommandResult",),
}
"""The public names by the module that has them. __init__.pyi says the same to type checkers; a test compares."""
_MODULES = {name: module for module, names in _PUBLIC.items() for name in names}
__all__ = [*_MODULES]  # noqa: PLE0604 - all of them are text


def __getattr__(name: str) -> object:
    """A public name, loaded now: a program that starts guests does not need what lists them."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    found = globals()[name] = getattr(importlib.import_module(_MODULES[name]), name)
    return found


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
