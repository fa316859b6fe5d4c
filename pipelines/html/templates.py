"""The pages' templates: HTML, style and script beside this file, filled in with everything escaped."""

import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

ASSETS = Path(__file__).parent / "assets"

_DIGEST = re.compile(r"(?:sha256:)?\b[0-9a-f]{16,128}\b", re.IGNORECASE)
_DASH = "–"


def render(template: str, **contents: Any) -> str:
    """The page of this template of `assets/`, with the style and script inside it."""
    environment = Environment(
        loader=FileSystemLoader(ASSETS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"score": score, "signed": signed, "digests": digests}
    parts = {name: Markup((ASSETS / file).read_text()) for name, file in (("style", "page.css"), ("script", "page.js"))}
    return environment.get_template(template).render(**parts, **contents)


def score(value: float | None, digits: int = 1) -> str:
    """A score with that many digits; a dash where there is none."""
    return _DASH if value is None or value != value else f"{value:.{digits}f}"


def signed(value: float, digits: int = 2) -> str:
    """A difference with its sign, a true minus."""
    return f"{value:+.{digits}f}".replace("-", "−")


def digests(text: str) -> Markup:
    """Text, escaped, in which long digests are shortened to the eye: selecting or opening one gives all of it."""
    parts, end = [], 0
    for found in _DIGEST.finditer(str(text)):
        parts += [Markup.escape(text[end : found.start()]), _shortened(found.group())]
        end = found.end()
    return Markup("").join([*parts, Markup.escape(text[end:])])


def _shortened(digest: str) -> Markup:
    return Markup('<code class="digest" tabindex="0" title="{0}">{0}</code>').format(digest)
