"""From a run directory to one HTML file.

The files are read, each part of the page is prepared by sections.py as plain values and markup, and one template puts
them together. The page allows itself nothing but its own style and its own script, by their hashes, so that markup
from a corpus could do nothing even if it got in. This file leaves out what the parts say.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

import jinja2
from markupsafe import Markup

from stepwell.runs import write_atomically
from stepwell.studies.report import error_words, errors, sections, summary
from stepwell.studies.report.colours import round_rules
from stepwell.studies.report.markup import visible
from stepwell.studies.report.reading import mapping, read_run, rows
from stepwell.studies.report.rounds import all_rounds
from stepwell.studies.report.words import paragraph, say


def render_report(run_dir: Path) -> str:
    """The report of a run, finished or not, as one HTML page.

    Args:
        run_dir: the run directory; only its recipe, facts, journal, result and metrics are read.

    Raises:
        RunError: when the directory holds no run.
    """
    files = read_run(run_dir)
    rounds = all_rounds(files)
    values = {
        "say": say,
        "paragraph": paragraph,
        "head": summary.headline(files, rounds),
        "has_model": any(view.accepted for view in rounds),
        "figures": summary.key_figures(files, rounds),
        "errors": errors.errors(files),
        "say_error": error_words.say,
        "stair": sections.stair(files, rounds),
        "rounds": rounds,
        "curves": sections.curves(files),
        "samples": sections.samples(files, rounds),
        "data": sections.data(files),
        "tokenizer": sections.tokenizer(files),
        "compared": sections.compared(rows(mapping(files.facts.get("tokenizer")).get("compared"))),
        "commands": summary.commands(files),
        "speed": summary.speed(rounds),
        "machine": sections.table(files.facts.get("machine")),
        "software": sections.table(files.facts.get("environment")),
        "plan": sections.table(files.facts.get("plan")),
        "recipe": files.recipe,
        "unread": files.unread,
    }
    style = packaged("report.css") + packaged("errors.css") + round_rules([view.round for view in rounds])
    return render("report.html.j2", values, style=style, script=packaged("report.js"))


def write_report(run_dir: Path) -> Path:
    """Write `report.html` into the run directory; an older one is replaced at once or not at all.

    Returns:
        The path of the report.

    Raises:
        RunError: when the directory holds no run.
        DiskError: when it cannot be written.
    """
    path = run_dir / "report.html"
    write_atomically(path, render_report(run_dir))
    return path


def render(template: str, values: Mapping[str, object], *, style: str, script: str = "") -> str:
    """A page of this package's templates, which allows itself its own style and script and nothing else.

    Args:
        template: its file name.
        values: what the template names.
        style: what stands in its style element.
        script: what stands in its script element.
    """
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; base-uri 'none'; form-action 'none'"
    )
    return _template(template).render(style=Markup(style), script=Markup(script), policy=policy, **values)


@functools.cache
def _template(name: str) -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(packaged),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def packaged(name: str) -> str:
    """A file of this package."""
    return resources.files(__package__ or "").joinpath(name).read_text(encoding="utf-8")


def _hash(content: str) -> str:
    digest = base64.b64encode(hashlib.sha256(content.encode("utf-8")).digest()).decode("ascii")
    return f"'sha256-{digest}'"


def _shown(value: object) -> object:
    """What the template writes for a value: text with its unseen characters shown; markup as it is."""
    return visible(value) if type(value) is str else value
