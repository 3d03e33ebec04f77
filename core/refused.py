"""A change that cannot be made: which fields are wrong, and what to write instead."""


class Refused(Exception):
    """Nothing was changed; each problem has its field and a message that says what to write instead."""

    def __init__(self, problems: list[dict[str, str]]) -> None:
        super().__init__("; ".join(problem["message"] for problem in problems))
        self.problems = problems

    @classmethod
    def of(cls, field: str, message: str) -> "Refused":
        """Refuse one field."""
        return cls([{"field": field, "message": message}])
