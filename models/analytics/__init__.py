"""What the readings mean: energy, cost and health of devices and of the fleet."""
