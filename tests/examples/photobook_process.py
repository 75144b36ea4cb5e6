"""Workers of ``examples/photobook.py`` whose press waits where a test says. ``flowstmt worker ...:make_engine``."""

from __future__ import annotations

import time
from datetime import timedelta

from examples import photobook
from flowstmt import Engine


class WatchedPress(photobook.Press):
    """Writes down each page that it is asked for; before the one whose photo is called ``wait`` it waits for a file ``go``."""

    def make(self, key: str, photo: str) -> None:
        with (self.folder.parent / "asked").open("a") as asked:
            asked.write(f"{key}\n")
        deadline = time.monotonic() + 60
        while photo == "wait" and not (self.folder.parent / "go").exists():
            assert time.monotonic() < deadline, "nobody let it go on"
            time.sleep(0.01)
        super().make(key, photo)


def make_engine() -> Engine:
    return photobook.make_engine(press=WatchedPress, lease=timedelta(seconds=2))
