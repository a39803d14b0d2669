"""Formulas as MathML, which browsers lay out themselves: no script and no font from elsewhere."""

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator


def mathml(latex: str, display: str) -> str:
    """A formula in MathML.

    Args:
        latex: the formula.
        display: `"inline"` or `"block"`.

    Raises:
        ValueError: if a command of it is not known.
    """
    converted = convert(latex, display=display)
    if "\\" in converted:
        unknown = converted.partition("\\")[2].partition("<")[0]
        raise ValueError(
            "A formula should use commands that `latex2mathml` knows. Found"
            f" `\\{unknown}` in {latex!r}. Write it in another way."
        )
    return converted


def visit_inline(translator: HTML5Translator, node: nodes.math) -> None:
    """Write a formula within a line. Called by Sphinx for each."""
    translator.body.append(mathml(node.astext(), "inline"))
    raise nodes.SkipNode


def visit_block(translator: HTML5Translator, node: nodes.math_block) -> None:
    """Write a displayed formula, which scrolls where it is too wide. Called by Sphinx for each."""
    formula = mathml(node.astext(), "block")
    translator.body.append(f'<div class="formula" tabindex="0">{formula}</div>\n')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the renderer. Called by Sphinx."""
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
