"""What every test starts from."""

from __future__ import annotations

import os

# Rich asks for the width when a console is made; no test may depend on who started it.
os.environ["COLUMNS"] = "160"
