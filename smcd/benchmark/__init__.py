"""`python -m smcd.benchmark`: time, memory and FLOPs of sampling and training, beside diffusers' base."""
