"""The synthetic world of moving shapes, and the small model of it that comes with smcd."""
