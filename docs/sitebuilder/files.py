"""Where the site's sources lie, and how generated ones are written."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

DOCS = Path(__file__).resolve().parents[1]
ROOT = DOCS.parent
FIGURES = DOCS / "figures"
CONFIGS = ROOT / "configs"


def template(file: str, **values: object) -> str:
    """What a template of this package becomes with these values.

    Args:
        file: its name in `templates`.
        values: what the template asks for.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(file).render(**values)


def write(file: Path, content: str | bytes) -> None:
    """Write a text or a picture unless the file holds it: Sphinx reads only what has changed."""
    data = content.encode() if isinstance(content, str) else content
    file.parent.mkdir(parents=True, exist_ok=True)
    if not file.is_file() or file.read_bytes() != data:
        file.write_bytes(data)
