"""Renders the report of a preset as one HTML file that needs no server, no network and no script.

nbconvert renders it, without the code and without the scripts that nbconvert would load from the web.
"""

from pathlib import Path

from lib.evidence.committed import Committed
from lib.runs.fingerprint import upstream_names

TEMPLATE = """
{%- extends 'lab/index.html.j2' -%}
{% block html_head_js %}{% endblock %}
{% block html_head_js_mathjax %}{% endblock %}
{% block html_head_js_mermaidjs %}{% endblock %}
{% block jupyter_widgets %}{% endblock %}
"""


def place(artifacts: Path, preset: str) -> Path:
    """Where the page of a preset is written; git ignores it."""
    return artifacts / preset / "report.html"


def fullest_report(runs: dict[tuple[str, str], Committed], preset: str) -> Committed | None:
    """The report that reads the most runs; None if no report has been executed."""
    reports = [
        run for (of, _), run in runs.items() if of == preset and run.name.startswith("90_") and run.path.is_file()
    ]
    return max(reports, key=lambda run: len(upstream_names(run.info["parameters"])), default=None)


def render(notebook: Path) -> str:
    """An executed notebook as HTML with embedded figures; the same HTML for the same notebook."""
    from nbconvert import HTMLExporter  # here, because it takes a second to load

    hidden = {"exclude_input": True, "exclude_input_prompt": True, "exclude_output_prompt": True}
    return HTMLExporter(raw_template=TEMPLATE, embed_images=True, **hidden).from_filename(str(notebook))[0]
