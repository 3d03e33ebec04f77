"""Python's collector of cycles, told to look seldom."""

import gc


def spare(objects: int) -> None:
    """Collect once, leave what is there now alone for good, and look again for every `objects` new ones.

    Python's own number is 700: with thousands of rows or calls at hand, a sixth of a process's time goes to looking.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(objects, 20, 50)
