"""kvmrun image: images of operating systems, pinned by the lab and kept in a store."""

import sys

from kvmrun.api.image import images, pull_image
from kvmrun.cli.arguments import Args, Parser, opened
from kvmrun.cli.json_output import print_document
from kvmrun.cli.report import reporting
from kvmrun.errors import UsageError
from kvmrun.ui.text import image_text

HELP = "get, verify and remove images of operating systems"
TIMEOUT = "none; each wait for a server has one of 30 s"
VERBS = ("list", "pull", "info", "verify", "import", "prune", "rm")


def configure(parser: Parser) -> None:
    parser.add_argument("verb", choices=VERBS, help="what to do")
    parser.add_argument("images", nargs="*", metavar="IMAGE", help="debian:13, apt:bookworm, URL#sha256=DIGEST, FILE")
    parser.add_argument("-a", "--all", action="store_true", help="list: everything that the catalogue has")
    parser.add_argument("--update", action="store_true", help="pull: pin the newest build instead of the pinned one")
    parser.add_argument("--unverified", action="store_true", help="pull: also what cannot be verified; it is marked")
    parser.add_argument("--as", dest="alias", metavar="NAME", help="pull, import: pin it by this name, such as mine:1")
    parser.add_argument("-n", "--dry-run", action="store_true", help="prune: print what would be removed")
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table", help="list, info: the format")


def run(args: Args) -> int:
    lab, names = opened(args), args.images or None
    if args.verb in {"list", "info"}:
        return _show(args)
    if names is None and args.verb in {"import", "rm"}:
        raise UsageError("no image was named", f"kvmrun image {args.verb} IMAGE")
    if args.alias and (names is None or len(names) != 1):
        raise UsageError("--as names one image", "name one image")
    options = pull_image.PullOptions(update=args.update, unverified=args.unverified, alias=args.alias)
    with reporting(args) as report:
        if args.verb == "pull":
            for word in names or pull_image.pinned_names(lab):
                pull_image.pull_image(lab, word, options, report)
        elif args.verb == "import":
            for word in names or ():
                pull_image.import_image(lab, word, options, report)
        elif args.verb == "verify":
            images.verify_images(lab, names, report=report)
        elif args.verb == "rm":
            images.remove_images(lab, names or (), report=report)
        else:
            images.prune_images(lab, dry_run=args.dry_run, report=report)
    return 0


def _show(args: Args) -> int:
    lab = opened(args)
    found = images.catalogue_images(lab) if args.all else images.image_status(lab, args.images or None)
    if args.output == "json":
        print_document(images=[one.as_dict() for one in found])
    else:
        sys.stdout.write(image_text.text(found, full=args.verb == "info"))
    return 0
