"""An action."""

class Audit(:
    pass
