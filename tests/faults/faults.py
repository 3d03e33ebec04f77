"""Every fault the harness can make."""

from typing import Final

from tests.faults import member_faults, service_faults
from tests.faults.registry import Faults

KINDS: Final = Faults({**member_faults.FAULTS, **service_faults.FAULTS})
