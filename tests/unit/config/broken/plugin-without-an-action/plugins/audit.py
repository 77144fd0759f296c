"""An action."""
