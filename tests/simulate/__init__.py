"""A simulator of whole gateways: one seed is one scenario, in simulated time, that repeats exactly."""
