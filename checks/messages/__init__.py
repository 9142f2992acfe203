"""Checks of messages: order, loss, duplication, isolation, acknowledgements, reads and streams of agents' answers."""
