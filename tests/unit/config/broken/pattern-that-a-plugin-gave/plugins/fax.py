"""An action whose `with` has a pattern of its own."""

from pydantic import Field

from gateway.plugin import Action, Settings


class FaxSettings(Settings):
    number: str = Field(pattern=r"^\+?[0-9]+$")


class Fax(Action):
    """Sends a fax."""

    name = "fax"
    Settings = FaxSettings
