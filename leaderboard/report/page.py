"""Pages of one file: templates, and what keeps them to themselves, whatever names go into them."""

import base64
import hashlib
import re
from collections.abc import Sequence
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from ..text.layout import number

_PARTS = "templates"


def part(name: str) -> str:
    """A file of the templates."""
    return files(__package__).joinpath(_PARTS, name).read_text(encoding="utf-8")


def inline(text: str) -> Markup:
    """A script or style as it may stand in the page.

    Raises:
        ValueError: it holds what would end its element, or what a browser would change before it hashes it.
    """
    if re.search(r"</(script|style)|<!--|\r|\0", text, re.IGNORECASE):
        raise ValueError("a script or style of the page cannot be inlined")
    return Markup(text)  # ours and the libraries'


def policy(scripts: Sequence[str]) -> str:
    """The Content-Security-Policy: no request leaves, and no script runs but these."""
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(one.encode()).digest()).decode()}'" for one in scripts)
    none = "'none'"
    return (
        f"default-src 'none'; script-src {hashes or none}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def environment() -> Environment:
    """Jinja's, with our templates: what goes into a page is escaped."""
    made = Environment(
        loader=PackageLoader(__package__, _PARTS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"prose": _prose, "listed": _listed, "broken": _broken, "number": number}
    return made


def _prose(text: str) -> Markup:
    """Text of a docstring: what stands in backticks is code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # escaped first


def _broken(name: str) -> Markup:
    """A name that may be broken after its underscores."""
    return Markup("_<wbr>").join(name.split("_"))


def _listed(names: Sequence[str], limit: int = 0) -> Markup:
    """Names as code, "a, b and c"; beyond the limit only their number."""
    shown = [Markup("<code>{}</code>").format(_broken(name)) for name in names[: limit or None]]
    if limit and len(names) > limit:
        shown.append(Markup("{} more").format(len(names) - limit))
    head = Markup(", ").join(shown[:-1])
    return Markup(" and ").join([head, shown[-1]]) if head else Markup("").join(shown)
