"""Finds the modules of the table, and those of the real tier that it uses, whatever the import mode."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "real")]
