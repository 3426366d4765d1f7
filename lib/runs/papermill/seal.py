"""The seal of an executed notebook: a hash of its outputs as they were written, so that an edit of them shows.

It is no signature: who edits the outputs can make a new seal, but not by accident.
"""

import hashlib
import json


def seal(notebook: dict) -> str:
    """Hash of the outputs of all code cells, 16 hexadecimal digits. Texts are joined, as nbformat reads them."""
    outputs = [cell["outputs"] for cell in notebook["cells"] if cell["cell_type"] == "code"]
    return hashlib.sha256(json.dumps(outputs, sort_keys=True).encode()).hexdigest()[:16]
