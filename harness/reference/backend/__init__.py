"""The backend: conversations, messages, WebSockets.

Any number of replicas may run at the same time.
"""
