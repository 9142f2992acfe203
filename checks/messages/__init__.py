"""Checks of messages: order, loss, duplication, isolation, answers, reads and agents' runs."""
