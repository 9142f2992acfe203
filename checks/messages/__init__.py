"""Checks of messages: order, loss, duplication, isolation, answers, reads and the streams of agents' answers."""
