"""Backends in processes of their own: the client that asks and the server that answers."""
