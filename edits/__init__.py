"""What operators change beside tasks: judged, written, and entered into the audit, all in one transaction.

The API, the console and the commands in `scripts/` are three ways to these functions; none has rules of its own.
"""
