"""Results of long runs, kept as they come: what is there is not done again."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from machine.files import replacing


class KeptResults(list[dict]):
    """The results in a JSON file, each a dict that begins with what tells it from the others."""

    def __init__(self, path: Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        super().__init__(json.loads(path.read_text()) if path.exists() else [])
        self.path = path

    def add(self, key: Mapping[str, object], measure: Callable[[], Mapping[str, object]]) -> None:
        """Measure what a key names, unless it is there; print it, and keep it."""
        if any(key.items() <= each.items() for each in self):
            return
        self.append({**key, **measure()})
        print(self[-1], flush=True)
        with replacing(self.path) as temporary:
            temporary.write_text(json.dumps(self, indent=1) + "\n")
