"""One unlearning request on a real federation: the method is lib's, the clients are Flower's nodes, the bits the same.

setting: what a run is of · wire: messages · node: a client's work · engine: the server's side · client_app, server_app:
what Flower loads · worker: a client's process that lives on · processes, run: all of it on one machine.
"""
