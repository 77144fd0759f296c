"""What would become of an event, found by the code that delivers, with nothing sent and no store touched."""

from gateway.simulation.engine import Assumed, SimulatedDelivery, SimulationResult, Simulator

__all__ = ["Assumed", "SimulatedDelivery", "SimulationResult", "Simulator"]
