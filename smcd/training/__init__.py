"""Training: what each stage trains and drops, the objective, the loop, checkpoints that resume exactly."""
