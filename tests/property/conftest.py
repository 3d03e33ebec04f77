"""How many examples hypothesis tries: HYPOTHESIS_PROFILE, else `ci` where CI is set, else `dev`."""

import os

from hypothesis import settings

import config  # noqa: F401 - every test reads the pinned time-zone data, whatever the machine has

settings.register_profile("dev", max_examples=100, deadline=None)
settings.register_profile(
    "ci", max_examples=500, deadline=None, print_blob=True, derandomize=True
)  # `nightly` draws anew
settings.register_profile("nightly", max_examples=20_000, deadline=None, print_blob=True)
settings.load_profile(
    os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI", "").lower() == "true" else "dev")
)
