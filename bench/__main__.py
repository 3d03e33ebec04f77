"""`make bench`: every measurement there is, with its figures under bench/out/."""

import sys
from pathlib import Path

from bench import main_job

if __name__ == "__main__":
    out = Path(__file__).parent / "out"
    out.mkdir(exist_ok=True)
    sys.exit(main_job.main(["--json", str(out / "main_job.json")]))
