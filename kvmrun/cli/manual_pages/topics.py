"""The pages of the manual, which are Markdown files of the package, and the topics that name them."""

import os
from collections.abc import Iterable, Sequence

import kvmrun
from kvmrun.cli import commands
from kvmrun.errors import UsageError
from kvmrun.model.printable import printable
from kvmrun.model.suggest import closest
from kvmrun.model.value import Value

_DIRECTORY = f"{os.path.dirname(os.path.abspath(kvmrun.__file__))}/manual"


class Page(Value):
    """One page: `name` as man(1) knows it, and its section of the manual."""

    name: str
    section: str

    @property
    def topic(self) -> str:
        """The word that `kvmrun help` takes for it."""
        return self.name.removeprefix("kvmrun-")

    def markdown(self) -> str:
        with open(f"{_DIRECTORY}/{self.name}.{self.section}.md", encoding="utf-8") as file:
            return file.read()

    def summary(self) -> str:
        """What the page is about, from its section NAME."""
        line = next(line for line in self.markdown().split("\n") if line.startswith(f"{self.name} - "))
        return line.partition(" - ")[2]


def pages() -> list[Page]:
    """Every page, the overview first."""
    files = sorted(name.removesuffix(".md").rpartition(".") for name in os.listdir(_DIRECTORY) if name.endswith(".md"))
    return sorted((Page(name=name, section=section) for name, _, section in files), key=lambda page: page.section)


def find(topic: str, verb: str, others: Iterable[str] = ()) -> Page:
    """The page that `lab`, `kvmrun-lab`, `kvmrun-lab.5` or `kvmrun-lab(5)` means.

    Raises UsageError; its fix is `kvmrun VERB` with the page about it, or with one of `others` that is spelled alike.
    """
    word = topic.replace("(", ".").removesuffix(")")
    known = pages()
    for page in known:
        if word in {page.topic, page.name, f"{page.name}.{page.section}"}:
            return page
    near = _page_about(word, known) or closest(word.removeprefix("kvmrun-"), [*(page.topic for page in known), *others])
    fix = f"did you mean kvmrun {verb} {near}?" if near else "kvmrun help lists the topics"
    raise UsageError(f"there is no help about {printable(topic, 60)}", fix)


def _page_about(word: str, known: Sequence[Page]) -> str:
    """The topic of a page with that word in its summary or a heading, else in a term; "" for none."""
    import re

    wanted = re.compile(rf"(?<!\w){re.escape(word)}s?(?!\w)", re.IGNORECASE)
    lines = [(page, line) for page in (*known[1:], known[0]) for line in page.markdown().split("\n")]
    summaries = [(page, line) for page, line in lines if line.startswith(f"{page.name} - ")]
    headings = [(page, line) for page, line in lines if line.startswith("#")]
    terms = [(page, line) for page, line in lines if line.startswith("- `")]
    return next((page.topic for page, line in (*summaries, *headings, *terms) if wanted.search(line)), "")


def command(topic: str) -> str:
    """The command of that name, aliases resolved; "" for none."""
    return commands.ALIASES.get(topic, topic) if commands.is_command(topic) else ""
