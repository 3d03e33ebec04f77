"""What a form's values are refused for, field by field."""

from pydantic import ValidationError

from core.refused import Refused


def refusal_of(error: ValueError) -> Refused:
    """Name each field that a model refuses; an error that names none stands for the whole form."""
    if not isinstance(error, ValidationError):
        return Refused.of("", str(error))
    found = [(str(issue["loc"][0]) if issue["loc"] else "", issue["msg"]) for issue in error.errors()]
    return Refused([{"field": field, "message": f"{field}: {told}" if field else told} for field, told in found])
