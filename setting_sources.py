"""Where a setting's value comes from: a variable, or the file that `NAME_FILE` names, as secrets are handed over.

Which variables there are is for config.py to say, the only reader of the environment.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

FILE_SUFFIX: Final = "_FILE"


class SettingsError(Exception):
    """A setting is wrong; the message holds one line for each, with its name, value and mend."""


@contextmanager
def readable(env_file: Path) -> Iterator[None]:
    """Read `.env` within this. Raises SettingsError where it is there and cannot be read."""
    try:
        if env_file.is_dir():  # the libraries would read it as an absent one
            raise SettingsError(f"{env_file} is a folder; put a file there, or remove it")
        yield
    except OSError as error:
        mend = "let the account that runs this read it, or remove it"
        raise SettingsError(f"{env_file} cannot be read ({error.strerror}); {mend}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{env_file} cannot be read (it is no UTF-8); save it as UTF-8") from None


class VariableSource(PydanticBaseSettingsSource):
    """Settings by variables whose names are in small letters; an empty one says nothing."""

    def __init__(self, settings_cls: type[BaseSettings], variables: Mapping[str, str | None], folder: Path) -> None:
        super().__init__(settings_cls)
        self._variables = variables
        self._folder = folder

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[str | None, str, bool]:
        """Read one setting. Raises SettingsError."""
        given, file = self._variables.get(field_name), self._variables.get(f"{field_name}{FILE_SUFFIX.lower()}")
        return one_value(field_name.upper(), given, file, self._folder), field_name, False

    def __call__(self) -> dict[str, Any]:
        """Give what was found, by setting."""
        found = {name: self.get_field_value(field, name)[0] for name, field in self.settings_cls.model_fields.items()}
        return {name: value for name, value in found.items() if value is not None}


def one_value(name: str, given: str | None, file: str | None, folder: Path) -> str | None:
    """Say what NAME, or the file of NAME_FILE, gives; None where that is nothing.

    The file is taken from `folder` when relative, and the line's end is left out. Raises SettingsError for both, and
    where the file cannot be read; its path is left out, since it may be the secret itself by mistake.
    """
    if not file:
        return given or None
    if given:
        raise SettingsError(f"{name} and {name}{FILE_SUFFIX} are both set: leave one of them out")
    try:
        return (folder / file).read_text(encoding="utf-8").rstrip("\r\n") or None
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "is no UTF-8"
        mend = "name one that this account may read"
        raise SettingsError(f"{name}{FILE_SUFFIX}: its file cannot be read ({why}); {mend}") from None
