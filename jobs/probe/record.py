"""What is left beside a result: how it was made."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

from probe.directions import MAKING


def same_work(work: Path, facts: dict[str, Any]) -> None:
    """Keeps what an interrupted run of the same making has left, and nothing of another's."""
    note = work / MAKING
    wanted = json.dumps(facts, indent=1, sort_keys=True) + "\n"
    if not note.is_file() or note.read_text() != wanted:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        note.write_text(wanted)


def finish_adapter(made: Path, folder: Path, model: Path, facts: dict[str, Any]) -> None:
    """Gives an adapter its name, the model it belongs to, and its making."""
    path = made / "adapter_config.json"
    config = json.loads(path.read_text())
    config["base_model_name_or_path"] = str(model.resolve())
    path.write_text(json.dumps(config, indent=2) + "\n")
    (made / MAKING).write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n")
    os.replace(made, folder)
