"""The files of an answer."""

from pathlib import Path

from lightning_mtl.answers.answer import Answer, answer
from lightning_mtl.answers.data import csv_text, json_text
from lightning_mtl.answers.page import html, markdown_page
from lightning_mtl.answers.pictures import pictures
from lightning_mtl.answers.records import Results


def write_answer(results: Results | Answer, folder: Path) -> list[Path]:
    """Write the report, its tables as Markdown, CSV and JSON, and its figures.

    Called again for a sweep that has gone on, it replaces what it wrote.

    Args:
        results: finished runs, or the answer that was made of them.
        folder: made if it is missing. It gets `report.html`, `answer.md`, `answer.csv`,
            `answer.json` and `pictures/<name>.png`.

    Returns:
        The files, the report first.
    """
    found = answer(results) if isinstance(results, Results) else results
    drawn = pictures(found)
    contents = {
        "report.html": html(found, drawn).encode(),
        "answer.md": markdown_page(found).encode(),
        "answer.csv": csv_text(found).encode(),
        "answer.json": json_text(found).encode(),
        **{f"pictures/{picture.name}.png": picture.png for picture in drawn},
    }
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in contents]
