"""`python -m tests.faults.mutant NAME run_worker.py`: a program of the product with one planted bug."""

import sys

from tests.faults.launch import run_program
from tests.faults.mutations import MUTATIONS

if __name__ == "__main__":
    MUTATIONS[sys.argv[1]]()
    run_program(sys.argv[2:])
