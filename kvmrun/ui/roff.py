"""Text for man(1): the few macros a page needs, and no text that is taken for one of them."""

import textwrap

from kvmrun.light.abc import Iterable


def page(title: str, date: str, source: str, body: Iterable[str]) -> str:
    """A whole page of section 1 out of the parts below."""
    return f'.TH {title.upper()} 1 "{date}" "{source}" "User Commands"\n' + "".join(body)


def section(name: str) -> str:
    return f".SH {name.upper()}\n"


def subsection(name: str) -> str:
    return f".SS {_quoted(name)}\n"


def paragraphs(*texts: str) -> str:
    return ".PP\n".join(f"{escaped(_filled(text))}\n" for text in texts)


def verbatim(text: str) -> str:
    """Lines as they are, such as a configuration."""
    return f".PP\n.nf\n.RS 4\n{escaped(text)}\n.RE\n.fi\n"


def entry(term: str, text: str) -> str:
    """What is explained, in bold, and the explanation indented below it."""
    return f".TP\n\\fB{escaped(term)}\\fR\n{escaped(_filled(text))}\n"


def escaped(text: str) -> str:
    r"""Text as it is: hyphens that can be copied, no escapes, and no line that begins like a request."""
    text = text.replace("\\", r"\e").replace("-", r"\-").replace("^", r"\(ha").replace("~", r"\(ti")
    return "\n".join(rf"\&{line}" if line[:1] in {".", "'"} else line for line in text.split("\n"))


def _filled(text: str) -> str:
    """Short lines, which those who check pages ask for."""
    return textwrap.fill(" ".join(text.split()), width=78, break_long_words=False, break_on_hyphens=False)


def _quoted(text: str) -> str:
    return '"' + escaped(text).replace('"', r"\(dq") + '"'
