"""JSON for programs: one document on one line, with the number of its schema. The only place that writes it.

A field may be added to a document without another number; one that is removed or means something else takes one.
"""

import json
import sys
from collections.abc import Mapping

from kvmrun.model.event import GuestEvent

SCHEMA = 1


def print_document(**fields: object) -> None:
    """Print one document with these fields on standard output."""
    sys.stdout.write(format_document(fields))


def format_document(fields: Mapping[str, object]) -> str:
    """The document as a line of ASCII that no terminal acts upon. A value that JSON does not know is its text."""
    text = json.dumps({"schema": SCHEMA} | {**fields}, sort_keys=True, default=str)
    return text.replace("\x7f", "\\u007f") + "\n"


def format_event(event: GuestEvent) -> str:
    """An event as a document. Raises KvmrunError where its data is nested too deeply."""
    from kvmrun.ui.text.output import require_shallow

    require_shallow(event.data)
    about = {"time": event.at, "guest": event.guest, "event": event.name}
    return format_document(about | {"data": {**event.data}})
