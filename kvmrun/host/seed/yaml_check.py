"""Whether a text is YAML, as far as a library for it is installed: kvmrun itself needs none."""

from typing import Any

from kvmrun.model.printable import printable


def yaml_problem(data: bytes) -> str:
    """What is wrong with a text that should be a mapping in YAML; "" for nothing, and where there is no library."""
    try:
        import yaml
    except ImportError:
        return ""
    try:
        found: Any = yaml.safe_load(data)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        text = printable(getattr(error, "problem", None) or error, 200)
        return f"line {mark.line + 1}: {text}" if mark else text
    except (ValueError, RecursionError) as error:
        return printable(error, 200)
    return "" if found is None or isinstance(found, dict) else "it is not a mapping of keys to values"
