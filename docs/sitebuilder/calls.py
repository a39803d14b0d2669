"""The Python that makes the object which a config describes."""

from collections.abc import Mapping
from typing import Any

CALLBACKS = "lightning_mtl.callbacks"


def call(settings: Mapping[str, Any]) -> tuple[list[str], str]:
    """The imports and the call that make what `class_path` and `init_args` describe.

    Args:
        settings: the two keys; a name without a module is one of the package's callbacks.
    """
    module, _, name = settings["class_path"].rpartition(".")
    imports = [f"from {module or CALLBACKS} import {name}"]
    parts = []
    for key, value in settings.get("init_args", {}).items():
        if isinstance(value, Mapping) and "class_path" in value:
            more, code = call(value)
            imports += more
        else:
            code = repr(value).replace("'", '"')
        parts.append(f"{key}={code}")
    return sorted(imports), f"{name}({', '.join(parts)})"
