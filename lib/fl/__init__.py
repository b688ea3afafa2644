"""Federated learning: data, nets, clients and the only training loop."""
from .memory import keep_freed

keep_freed()
