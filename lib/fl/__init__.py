"""Federated learning: data, nets, clients and the only training loop. Its import sets how this process keeps memory."""
from .memory import keep_freed

keep_freed()
