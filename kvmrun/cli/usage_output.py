"""What guests use, printed once: as a table or as JSON."""

import sys
from collections.abc import Iterator

from kvmrun.cli.arguments import Args
from kvmrun.cli.json_output import print_document
from kvmrun.model.guest.guest_usage import GuestUsage, UsageRates, UsageSnapshot


def print_usage(after: UsageSnapshot, before: UsageSnapshot, args: Args) -> None:
    """Print the rates between two moments as the words want them."""
    from kvmrun.ui.screen import top_text

    if args.output == "json":
        print_document(**_usage_json(after, before))
    else:
        sys.stdout.write(top_text.plain(after, before, everybody=args.all, details=args.verbose > 0))
    sys.stdout.flush()


def _usage_json(now: UsageSnapshot, before: UsageSnapshot) -> dict[str, object]:
    """The rates between two moments, by guest."""
    rates = now.rates(before)
    return {
        "host": {
            "cpus": now.load.cpus,
            "cpu_percent": now.load.cpu_percent(before.load),
            "memory_bytes": now.load.memory_bytes,
            "used_bytes": now.load.used_bytes,
        },
        "guests": [_guest(sample, rates[sample.status.name]) for sample in now.guests],
    }


def _guest(sample: GuestUsage, rates: UsageRates) -> dict[str, object]:
    status = sample.status
    return {
        "name": status.name,
        "state": status.state,
        "pid": status.pid,
        "problem": status.problem,
        "cpus": status.cpus,
        "cpu_percent": rates.cpu_percent,
        "memory_bytes": status.memory_bytes,
        "rss_bytes": status.rss_bytes,
        "balloon_bytes": sample.balloon_bytes,
        "drives": [dict(_a_second(one.as_dict())) for one in rates.drives],
        "nics": [dict(_a_second(one.as_dict())) for one in rates.nics],
    }


def _a_second(rates: dict[str, object]) -> Iterator[tuple[str, object]]:
    """Rates as whole numbers, named as what they are."""
    for key, value in rates.items():
        yield (f"{key}_per_s", round(value)) if isinstance(value, float) else (key, value)
