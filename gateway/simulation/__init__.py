"""What would become of an event, found by the code that delivers, with nothing sent and no store touched."""

from gateway.simulation.engine import Assumed, Rehearsal, Rehearsed, Simulator

__all__ = ["Assumed", "Rehearsal", "Rehearsed", "Simulator"]
