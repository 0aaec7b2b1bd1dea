"""Writing tensors so that others may read them, and so that a file exists whole or not at all."""

import os
from pathlib import Path
from typing import Mapping

from safetensors.torch import save_file
from torch import Tensor


def save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    hidden = path.with_name(f".{path.name}")
    hidden.touch()
    allowed = hidden.stat().st_mode & 0o777  # what the umask leaves; safetensors itself writes for the owner alone
    save_file(dict(tensors), hidden, metadata={"format": "pt"})
    hidden.chmod(allowed)
    os.replace(hidden, path)
